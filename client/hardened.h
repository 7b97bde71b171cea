/* SPDX-License-Identifier: MIT */
/*
 * Hardened heaps (Hardened=yes): the second way to allocate and to free, on which free slots are looked at and objects end
 * in a canary.
 */
#ifndef HEAPD_CLIENT_HARDENED_H
#define HEAPD_CLIENT_HARDENED_H

#include "heapd/canary.h"
#include "place.h"

/* Bytes at the end of each object that are not the program's. */
static inline uint64_t hardened_reserve(const struct heapd_heap *heap)
{
	return heap->hardened ? HEAPD_CANARY_BYTES : 0;
}

/* One zeroed object of at least as many bytes as the class has: of the next larger one, or of a type's own. */
hidden void *hardened_alloc(struct heapd_heap *heap, uint32_t class);

/* The same of this very class, whose slots have room for the canary. */
hidden void *hardened_alloc_exact(struct heapd_heap *heap, uint32_t class);

/*
 * What comes before a free. False: the object is free already, or somebody is freeing it. If its end was overwritten that is
 * reported, and the object can be freed all the same. *seen: for hardened_claim().
 */
hidden bool hardened_check(struct heapd_heap *heap, const struct place *place, uint64_t *seen);

/*
 * Makes the object this thread's to free; inside the gate, where the freed word alone does not decide who is first. False: somebody else
 * was faster. poison: a small one is overwritten, which may be only with the barrier off: a cycle may have to see its words still.
 */
hidden bool hardened_claim(const struct heapd_heap *heap, const struct place *place, uint64_t seen,
			   bool poison);

#endif
