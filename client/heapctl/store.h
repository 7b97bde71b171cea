/* SPDX-License-Identifier: MIT */
/*
 * store.h - large arrays, in a file that has no name: the kernel may write them out when memory is short, so a walk of a
 * heap of many millions of objects takes address space and disk, not memory that others need.
 */
#ifndef HEAPCTL_STORE_H
#define HEAPCTL_STORE_H

#include <stdbool.h>
#include <stdint.h>

struct store {
	int fd;
	void *at;
	uint64_t bytes;
};

/* All zero; in $TMPDIR or /var/tmp. NULL and errno. */
void *store_make(struct store *store, uint64_t bytes);
/* The same contents in more room; NULL and errno, and the store as it was. */
void *store_grow(struct store *store, uint64_t bytes);
void store_free(struct store *store);

#endif
