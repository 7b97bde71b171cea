/* SPDX-License-Identifier: MIT */
/*
 * The sweeper: from mark words to free slots.
 */
#ifndef HEAPD_DAEMON_SWEEPER_H
#define HEAPD_DAEMON_SWEEPER_H

#include "heap.h"

struct sweep_counts {
	uint64_t freed_objects, freed_bytes; /* taken back */
	uint64_t held_bytes;                 /* left, though not marked: held */
	uint64_t spans;                      /* given back whole */
};

/* Says of that, while all barriers are still on, that it is free: to whoever frees it all the same. From the same thread. */
void sweeper_announce(struct heap *heap);
/* Takes back what is out, not marked and not held. From the collector's thread, in pieces under heap->lock. */
void sweeper_run(struct heap *heap, struct sweep_counts *counts);

#endif
