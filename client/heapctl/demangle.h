/* SPDX-License-Identifier: MIT */
/*
 * demangle.h - names of C++ functions as they were written.
 */
#ifndef HEAPCTL_DEMANGLE_H
#define HEAPCTL_DEMANGLE_H

#include <stddef.h>

struct demangler {
	void *library;
	char *(*demangle)(const char *name, char *buffer, size_t *size, int *status);
};

/* Where there is no libstdc++, names stay as they are. */
void demangler_init(struct demangler *d);
void demangler_deinit(struct demangler *d);

/* Writes the name, in its own form or as it was written. */
void demangle(const struct demangler *d, const char *name, char *text, size_t size);

#endif
