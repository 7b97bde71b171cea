/* SPDX-License-Identifier: MIT */
/*
 * Hardened heaps (Hardened=yes): what the daemon writes to slots, and looks for in those that it takes back. With
 * heap->lock held.
 */
#ifndef HEAPD_DAEMON_HARDENED_H
#define HEAPD_DAEMON_HARDENED_H

#include "heap.h"

static inline bool hardened_is_on(const struct heap *heap)
{
	return heap->t.directory->cycle.debug & HEAPD_DEBUG_HARDENED;
}

/* Words at the end of each object that are no program's. */
static inline uint64_t hardened_words(const struct heap *heap)
{
	return hardened_is_on(heap) ? 1 : 0;
}

/* Pages that are about to become a span: before anything leads there. */
void hardened_cut(struct heap *heap, uint32_t first, const struct heapd_span *span);

/* Slots of slab k that are about to be the ledger's again, and in nobody's hands. */
void hardened_close(struct heap *heap, uint32_t first, uint32_t k, uint64_t slots);

#endif
