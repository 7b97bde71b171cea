/* SPDX-License-Identifier: MIT */
/*
 * From a word to the slot that it points into, by one 16-byte record of the page table; where a slab has fewer than 64 slots, by the
 * class's record too, which is made before the first span of the class and does not change.
 *
 * Any word may be given. The record's `first` is read before the rest of it (acquire; it pairs with the release
 * in spans.c, which fills the rest before): what is found is a slot of a span that was whole then. It stays one
 * for whoever holds heap->lock, and while a cycle is under way, in which no span is freed.
 */
#ifndef HEAPD_DAEMON_SLOTS_H
#define HEAPD_DAEMON_SLOTS_H

#include "heapd/geometry.h"

struct slot {
	uint64_t at;    /* the word of the heap that it begins with */
	uint32_t first; /* page of its span */
	uint32_t slab;
	uint32_t bit; /* in the slab's words */
	uint16_t class;
	uint16_t words; /* of the slot; 0: large, see the span */
};

#define SLOT_PAGE_SHIFT (HEAPD_PAGE_SHIFT - 3u) /* words of a page */

/* Whether a slot, whose last word lies in another page than the one looked up, ends inside the span. */
static inline bool slot_ends_inside(const struct heapd_tables *t, uint64_t last, uint32_t first)
{
	return last < t->size / 8 && HEAPD_LOAD_ACQUIRE(&t->pages[last >> SLOT_PAGE_SHIFT].first) == first;
}

/* at: which word of the heap, known to be in it. */
static inline bool slot_find_at(const struct heapd_tables *t, uint64_t at, struct slot *slot)
{
	const struct heapd_page *page = &t->pages[at >> SLOT_PAGE_SHIFT];
	uint32_t first = HEAPD_LOAD_ACQUIRE(&page->first), index, words, slots = 64;
	uint64_t start = ((uint64_t)first - 1) << SLOT_PAGE_SHIFT, last;

	if (!first)
		return false;
	words = page->words;
	/* heapd_page_index() of 8 bytes for each word; of a large span: 0. */
	index = (uint32_t)((at - start) * page->magic >> (32 - 3));
	start += (uint64_t)index * words;
	last = start + words - 1;
	/* The gap at a span's end is smaller than a slot: a slot that would lie there ends beyond the span. */
	if (__builtin_expect((last ^ at) >> SLOT_PAGE_SHIFT != 0, 0) && words &&
	    !slot_ends_inside(t, last, first))
		return false;
	if (__builtin_expect(words - 1 >= HEAPD_SLAB_BYTES / 8 / 64, 0))
		slots = t->classes[page->class].slab_slots;
	*slot = (struct slot){
		.at = start,
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
	return word - t->base < t->size && slot_find_at(t, (word - t->base) / 8, slot);
}

#endif
