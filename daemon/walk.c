/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; goes through the page table. Right because spans come and go under heap->lock, and the page to go
 * on with lies behind a span that stood when the lock was given up: while a cycle is under way none is freed, so that page
 * begins a span, or a gap, still.
 */
#include "walk.h"

#include "pages.h"

#define PIECE 4096u /* slabs, and spans, looked at under one taking of the lock */

/* From page `page` on: the page to go on with, UINT64_MAX after the last. */
static uint64_t walk_piece(struct heap *heap, uint64_t page, uint32_t (*look)(void *arg, uint32_t first),
			   void *arg)
{
	uint64_t high = heap->pages->free.high;
	uint32_t work = 0;

	while (page < high && work < PIECE) {
		uint32_t first = heap->t.page_span[page];

		if (!first) {
			page++;
			continue;
		}
		work += 1 + look(arg, first - 1);
		page = first - 1u + heap->t.spans[first - 1].npages;
	}
	return page < high ? page : UINT64_MAX;
}

void walk_spans(struct heap *heap, uint32_t (*look)(void *arg, uint32_t first), void *arg)
{
	for (uint64_t page = 0; page != UINT64_MAX;) {
		heap_lock(heap);
		page = walk_piece(heap, page, look, arg);
		heap_unlock(heap);
		heap_give_way(heap);
	}
}
