/* SPDX-License-Identifier: MIT */
/*
 * reserved.h - the places of heaps that are kept and not open, while new ones look for theirs.
 */
#ifndef HEAPD_DAEMON_RESERVED_H
#define HEAPD_DAEMON_RESERVED_H

#include <stddef.h>
#include <stdint.h>

#include "store.h"

struct reserved {
	struct reserved_range {
		uint64_t base, bytes;
	} * ranges;
	size_t n;
};

/* Takes the places of all heaps that the store still has. -ENOMEM. */
int reserved_take(struct reserved *reserved, const struct store *store);
/* Leaves them to whoever opens those heaps. */
void reserved_leave(struct reserved *reserved);

#endif
