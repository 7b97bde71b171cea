/* SPDX-License-Identifier: MIT */
/*
 * From a word to the slot that it points into, by one 16-byte record of the page table.
 *
 * Any word may be given. The record's `first` is read before the rest of it (acquire; it pairs with the release
 * in spans.c, which fills the rest before): what is found is a slot of a span that was whole then. It stays one
 * for whoever holds heap->lock, and while a cycle is under way, in which no span is freed.
 */
#ifndef HEAPD_DAEMON_SLOTS_H
#define HEAPD_DAEMON_SLOTS_H

#include "heapd/geometry.h"

struct slot {
	uint64_t start; /* its offset from the heap's base */
	uint32_t first; /* page of its span */
	uint32_t slab;
	uint32_t bit; /* in the slab's words */
	uint16_t class;
	uint16_t words; /* of the slot; 0: large, see the span */
};

/* Whether these bytes, the last of which lies in another page than the first, end inside the span. */
static inline bool slot_ends_inside(const struct heapd_tables *t, uint64_t last, uint32_t first)
{
	return last < t->size && HEAPD_LOAD_ACQUIRE(&t->pages[last >> HEAPD_PAGE_SHIFT].first) == first;
}

/* offset: of the word from the heap's base, known to be below the heap's size. */
static inline bool slot_find_at(const struct heapd_tables *t, uint64_t offset, struct slot *slot)
{
	const struct heapd_page *page = &t->pages[offset >> HEAPD_PAGE_SHIFT];
	uint32_t first = HEAPD_LOAD_ACQUIRE(&page->first), index, words, slots = 64;
	uint64_t start = ((uint64_t)first - 1) << HEAPD_PAGE_SHIFT, last;

	if (!first)
		return false;
	words = page->words;
	index = heapd_page_index(page, offset - start); /* of a large span: 0 */
	start += (uint64_t)index * words * 8;
	last = start + words * 8u - 1;
	/* The gap at a span's end is smaller than a slot: a slot that would lie there ends beyond the span. */
	if (__builtin_expect((last ^ offset) >> HEAPD_PAGE_SHIFT != 0, 0) && words &&
	    !slot_ends_inside(t, last, first))
		return false;
	if (__builtin_expect(words > HEAPD_SLAB_BYTES / 8 / 64, 0))
		slots = heapd_slab_slots(words * 8u);
	*slot = (struct slot){
		.start = start,
		.first = first - 1,
		.slab = page->slab0 + index / slots,
		.bit = index % slots,
		.class = page->class,
		.words = (uint16_t)words,
	};
	return true;
}

static inline bool slot_find(const struct heapd_tables *t, uint64_t word, struct slot *slot)
{
	return word - t->base < t->size && slot_find_at(t, word - t->base, slot);
}

#endif
