/* SPDX-License-Identifier: MIT */
/*
 * reserved.h - the places of heaps that are kept and not open, while new ones look for theirs.
 */
#ifndef HEAPD_DAEMON_RESERVED_H
#define HEAPD_DAEMON_RESERVED_H

#include <stddef.h>
#include <stdint.h>

#include "store.h"

struct reserved_range {
	uint64_t base, bytes;
};

struct reserved {
	struct reserved_range *ranges;
	size_t n;
};

/* Learns the places of all heaps that the store still has. -ENOMEM. */
int reserved_find(struct reserved *reserved, const struct store *store);
/* Takes those that no heap has been opened at since. */
void reserved_take(struct reserved *reserved);
/* Leaves them to whoever opens those heaps. */
void reserved_leave(struct reserved *reserved);

#endif
