/* SPDX-License-Identifier: MIT */
/*
 * Poison: what is taken back is overwritten with words that are no addresses (Debug=poison), so that whoever still uses it
 * does not get far. With heap->lock held.
 */
#ifndef HEAPD_DAEMON_POISON_H
#define HEAPD_DAEMON_POISON_H

#include "spans.h"

static inline bool poison_is_on(const struct heap *heap)
{
	return heap->t.directory->cycle.debug & HEAPD_DEBUG_POISON;
}

/* Slots of slab k that are the ledger's, and in no client's hands. */
void poison_slots(const struct spans *spans, uint32_t first, uint32_t k, uint64_t slots);

#endif
