/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; writes to free slots. Right because a slot that the ledger has is nobody's: it is supplied again under
 * heap->lock only, and its pages stay committed as long as its span stands. No zeroed slab loses by it: a slab that was ever
 * supplied does not count as zeroed any more (span_state.used), nor do pages that were ever
 * in a span: what is free of such a heap is not cleared (large.c).
 */
#include "poison.h"

#include "heapd/atomic.h"

static void words_fill(uint64_t at, uint64_t n)
{
	uint64_t *words = (uint64_t *)(uintptr_t)at; /* NOLINT(performance-no-int-to-ptr) */

	for (uint64_t i = 0; i < n; i++)
		HEAPD_WRITE_ONCE(words[i], HEAPD_POISON_WORD);
}

void poison_slots(const struct spans *spans, uint32_t first, uint32_t k, uint64_t slots)
{
	const struct heapd_span *span = &spans->heap->t.spans[first];
	uint64_t slab = spans->heap->t.base + ((uint64_t)first << HEAPD_PAGE_SHIFT) +
			heapd_slab_offset(span, k);

	bits_set(span_state_of(spans, first)->used, k);
	for (; slots; slots &= slots - 1)
		words_fill(slab + (uint64_t)__builtin_ctzll(slots) * span->elemsize, span->elemsize / 8);
}
