/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; writes 0 to the slots of weak cells that become free.
 *
 * A cycle looks at each cell's slot that is out (weaks.c), and cannot tell whether a slot that some processor has in its hands is a
 * cell, or free still. If it is free, what the last cell said leads to an object that may have died since, to a slot which is in
 * somebody's hands, too, and free: that one would be marked, with all that its stale words lead to, in each cycle, for as long
 * as nobody allocates. So a free slot says 0.
 *
 * Right because it is done before the ledger has the slot, and before a span is published, never after: until then nobody
 * allocates from it, and nobody leads to what was a cell there. A daemon that dies in between leaves a dead cell that says 0. In
 * hardened heaps free slots are poison, which weaks.c knows; nothing is written here, since whoever is given one looks for that.
 */
#include "cells.h"

#include "hardened.h"
#include "heapd/atomic.h"
#include "heapd/slab.h"

static void words_clear(const struct heap *heap, uint64_t offset, uint64_t bytes)
{
	uint64_t *words =
		(uint64_t *)(uintptr_t)(heap->t.base + offset); /* NOLINT(performance-no-int-to-ptr) */

	for (uint64_t i = 0; i < bytes / 8; i++)
		HEAPD_WRITE_ONCE(words[i], 0);
}

static bool are_cleared(const struct heap *heap, const struct heapd_span *span)
{
	return span->class == HEAPD_CLASS_WEAK && !hardened_is_on(heap);
}

void cells_cut(const struct heap *heap, uint32_t first, const struct heapd_span *span)
{
	if (are_cleared(heap, span))
		words_clear(heap, (uint64_t)first << HEAPD_PAGE_SHIFT,
			    (uint64_t)span->nslots * span->elemsize);
}

void cells_free(const struct heap *heap, uint32_t first, uint32_t k, uint64_t slots)
{
	const struct heapd_span *span = &heap->t.spans[first];
	uint64_t slab = ((uint64_t)first << HEAPD_PAGE_SHIFT) + heapd_slab_offset(span, k);

	for (; slots && are_cleared(heap, span); slots &= slots - 1)
		words_clear(heap, slab + (uint64_t)__builtin_ctzll(slots) * span->elemsize, span->elemsize);
}
