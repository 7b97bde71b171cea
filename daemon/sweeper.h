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

/* Takes back what is out, not marked and not held. From the collector's thread, in pieces under heap->lock. */
void sweeper_run(struct heap *heap, struct sweep_counts *counts);

#endif
