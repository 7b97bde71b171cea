/* SPDX-License-Identifier: MIT */
/*
 * holes.h - which parts of a memory file are memory. To read a hole of a mapped memory file makes it memory, and that of
 * the heap is the daemon's account: what a broken table says is asked here first.
 */
#ifndef HEAPCTL_HOLES_H
#define HEAPCTL_HOLES_H

#include <stdbool.h>
#include <stdint.h>

struct holes {
	int fd;
	uint64_t from, to; /* what was found to be memory when it was last looked */
};

/* Whether all of it is memory. A file system that cannot tell has no holes. */
bool holes_none(struct holes *h, uint64_t at, uint64_t bytes);

#endif
