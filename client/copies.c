/* SPDX-License-Identifier: MIT */
/*
 * Whether a second copy of the library is loaded in this process, by an RPATH or a bundle of its own. Each
 * copy would have its own attachment, while both share, or do not share, the words behind the inline barrier,
 * depending on how they were loaded: so an attachment is refused.
 *
 * The dynamic linker lists what is loaded; a copy is an object with our soname, without the number, that is
 * not this one. Copies that it does not list, of another namespace (dlmopen) or linked statically under no
 * soname, are found, if at all, only by the heap's addresses being taken (EADDRINUSE).
 */
#include "copies.h"

#include <errno.h>
#include <link.h>
#include <string.h>

#define SONAME "libheapd.so"

/* An address from an object's dynamic section: most C libraries relocate these in place, some do not. */
static const char *dynamic_address(const struct dl_phdr_info *info, uint64_t value)
{
	return (const char *)(uintptr_t)(value < info->dlpi_addr ? value + info->dlpi_addr : value);
}

static const char *object_soname(const struct dl_phdr_info *info, const ElfW(Dyn) * d)
{
	const char *strings = NULL;
	uint64_t name = 0;

	for (; d->d_tag != DT_NULL; d++) {
		if (d->d_tag == DT_STRTAB)
			strings = dynamic_address(info, d->d_un.d_ptr);
		else if (d->d_tag == DT_SONAME)
			name = d->d_un.d_val;
	}
	return strings && name ? strings + name : "";
}

/* One object of the list: 1, which ends the walk, if it is another copy; *found is its path then. */
static int object_look(struct dl_phdr_info *info, size_t size, void *found)
{
	const char *soname = "";
	bool own = false;

	(void)size;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uint64_t start = info->dlpi_addr + p->p_vaddr;

		own |= p->p_type == PT_LOAD && (uint64_t)(uintptr_t)&copies_check - start < p->p_memsz;
		if (p->p_type == PT_DYNAMIC)
			soname = object_soname(info, (const ElfW(Dyn) *)(uintptr_t)start);
	}
	if (own || strncmp(soname, SONAME, strlen(SONAME)) != 0)
		return 0;
	*(const char **)found = info->dlpi_name;
	return 1;
}

int copies_check(void)
{
	const char *path = NULL;

	if (!dl_iterate_phdr(object_look, (void *)&path))
		return 0;
	return error_set(
		EBUSY,
		"a second copy of libheapd is loaded in this process: %s: have all that use it load the same file",
		path);
}
