/* SPDX-License-Identifier: MIT */
/*
 * A map of free units from which runs are taken, lowest address first. One bit a unit; joining
 * neighbours is what bits do by themselves. Used for the pages of a heap and for slab numbers.
 * Not thread-safe: its owner's lock guards it.
 */
#ifndef HEAPD_RUNMAP_H
#define HEAPD_RUNMAP_H

#include <stdbool.h>
#include <stdint.h>

struct runmap {
	uint64_t *bits;  /* 1: free */
	uint32_t *bound; /* per group: no longer run begins in it (an upper bound; UINT32_MAX: unknown) */
	uint64_t units;
	uint64_t groups;
	uint64_t free; /* units */
	uint64_t high; /* units ever taken are below this */
};

/* All `units` are free. -ENOMEM; the tables are sparse. */
int runmap_init(struct runmap *map, uint64_t units);
void runmap_deinit(struct runmap *map);

/* Takes n neighbouring units, the first on a multiple of align. -ENOSPC if there is no such run. */
int runmap_take(struct runmap *map, uint64_t n, uint64_t align, uint64_t *at);
/* The first run of n or more free units among those from `from` up to `end`: how many it has there, and where it is; 0 if there is none. */
uint64_t runmap_next(const struct runmap *map, uint64_t from, uint64_t end, uint64_t n, uint64_t *at);
/* Takes exactly these: -EBUSY if one of them is not free. */
int runmap_claim(struct runmap *map, uint64_t at, uint64_t n);
/* Gives back units that are taken. */
void runmap_give(struct runmap *map, uint64_t at, uint64_t n);

bool runmap_is_free(const struct runmap *map, uint64_t at);

#endif
