/* SPDX-License-Identifier: MIT */
/*
 * A slab: up to 64 consecutive slots of a span, and its state as words of one bit per slot.
 * Slab number n of a heap has: out[n] and supplied[n] in the directory, freed[n] in control. Numbers are dense, span after span, so these tables stay as small as the heap is.
 */
#ifndef HEAPD_SLAB_H
#define HEAPD_SLAB_H

#include "heapd/span.h"

#define HEAPD_SLAB_UNIT 8u /* slab numbers are given to spans in units of 8 */

/* The slots that slab k of a span has: the last one may be short. */
static inline uint64_t heapd_slab_valid(const struct heapd_span *s, uint32_t k)
{
	uint32_t first = k * s->slab_slots;

	if (first >= s->nslots)
		return 0;
	uint32_t n = s->nslots - first < s->slab_slots ? s->nslots - first : s->slab_slots;
	return n >= 64 ? UINT64_MAX : (1ull << n) - 1;
}

/* Byte offset of slab k from the start of its span. */
static inline uint64_t heapd_slab_offset(const struct heapd_span *s, uint32_t k)
{
	return (uint64_t)k * s->slab_slots * s->elemsize;
}

#endif
