/* SPDX-License-Identifier: MIT */
/*
 * Where an address lies: from an address to its span, slab and slot, checked at each step, so that
 * foreign, interior and wild addresses are told apart from objects.
 */
#ifndef HEAPD_CLIENT_PLACE_H
#define HEAPD_CLIENT_PLACE_H

#include "client.h"

struct place {
	const struct heapd_span *span;
	uint64_t start; /* address of the slot */
	uint64_t base;  /* address of slot 0 of its slab */
	uint64_t bit;   /* the slot's bit in the slab's words */
	uint32_t slab;  /* number of the slab */
};

/* Finds the slot that holds address p. False if it lies in no slot of any span in use. */
static inline bool place_find(const struct heapd_heap *heap, const void *p, struct place *place)
{
	uint64_t offset = (uint64_t)(uintptr_t)p - heap->t.base, start;
	const struct heapd_span *span;
	uint32_t first, index = 0, k, slots;

	if (unlikely(offset >= heap->t.size))
		return false;
	first = __atomic_load_n(&heap->t.page_span[offset >> HEAPD_PAGE_SHIFT], __ATOMIC_RELAXED);
	if (unlikely(!first))
		return false;
	span = &heap->t.spans[first - 1];
	start = heap->t.base + ((uint64_t)(first - 1) << HEAPD_PAGE_SHIFT);
	if (span->magic)
		index = heapd_span_index(span, heap->t.base + offset - start);
	if (unlikely(index >= span->nslots))
		return false;
	slots = span->slab_slots;
	k = likely(slots == 64) ? index / 64 : index / (slots | !slots);
	place->span = span;
	place->start = start + index * span->elemsize;
	place->base = start + (uint64_t)k * slots * span->elemsize;
	place->bit = 1ull << ((index - k * slots) & 63);
	place->slab = span->slab0 + k;
	return true;
}

#endif
