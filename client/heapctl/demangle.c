/* SPDX-License-Identifier: MIT */
/*
 * demangle.c - owns how heapctl comes to the C++ runtime's demangler: by dlopen(), if that is installed. It is where C++
 * programs run, in whose profiles alone there are such names; linked with it, heapctl would need it on every machine.
 */
#include "demangle.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY    "libstdc++.so.6"
#define NAME_BYTES 4096u /* names come from other people's files */

void demangler_init(struct demangler *d)
{
	void *f;

	*d = (struct demangler){ .library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL) };
	f = d->library ? dlsym(d->library, "__cxa_demangle") : NULL;
	memcpy(&d->demangle, &f, sizeof(f));
}

void demangler_deinit(struct demangler *d)
{
	if (d->library)
		dlclose(d->library);
	*d = (struct demangler){ .library = NULL };
}

void demangle(const struct demangler *d, const char *name, char *text, size_t size)
{
	char *written = NULL;
	int status;

	if (d->demangle && strncmp(name, "_Z", 2) == 0 && strnlen(name, NAME_BYTES) < NAME_BYTES)
		written = d->demangle(name, NULL, NULL, &status);
	snprintf(text, size, "%s", written ? written : name);
	free(written);
}
