/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; gives back to the ledger what the marker did not reach.
 *
 * For each slab: dead = out & ~mark & ~hold. A slot that lies in a ring has its mark bit set (holds.c), so slabs in
 * rings need no care of their own. A dead slot is nobody's: no thread, root or object leads to it, so no client that keeps
 * the rules frees it meanwhile; if one had freed it before it became unreachable, its freed bit goes with it, or the
 * next harvest would take the next owner's object for freed. Slots that are supplied again while the sweep goes on
 * are held from their return on, so a slab that is still to be swept may be in use again already.
 *
 * A client that keeps pointers where nobody looks may free a dead slot all the same. With its barrier on it sets the freed bit,
 * which goes with the slot. With its barrier off it would put the slot into a current slab, and a sweep that comes after that would
 * leave it in two places, its span cut anew under the client's word. So before any barrier goes off lent[] says that all that is
 * dead is free (free.c of the client looks there). What is dead then stays so until it is swept: bits are only added to the
 * hold words, of slots that are free.
 *
 * The lock is taken for a piece at a time. Spans may come and go between two pieces: a span that is cut then has
 * all its mark bits set, and none is freed but by the sweep, since collection->active stands until it has ended.
 */
#include "sweeper.h"

#include "clean.h"
#include "clock.h"
#include "collection.h"
#include "hardened.h"
#include "heapd/count.h"
#include "heapd/delay.h"
#include "marks.h"
#include "poison.h"
#include "supply.h"

#ifndef SWEEPER_PIECE
#define SWEEPER_PIECE 4096u
#endif
#define PIECE_POISON 64u /* ... where each slot is written to */

/*
 * What is left because it is held, though nothing reached it, was made before its maker was scanned, and let go of,
 * or later: nobody has marked what it points to. What lies in a ring has no object, and was taken by nobody before note P2.
 */
static void note_torn(struct marks *marks, uint32_t slab, uint64_t torn)
{
	if (torn | marks->torn[slab])
		marks->torn[slab] = torn;
}

/* What comes back of it; *torn: what stays, and is torn. */
static uint64_t sweep_slab(struct heap *heap, uint32_t first, uint32_t k, uint64_t *torn,
			   struct sweep_counts *counts)
{
	const struct heapd_span *span = &heap->t.spans[first];
	struct marks *marks = heap->marks;
	uint32_t slab = span->slab0 + k;
	uint64_t out = heap->t.out[slab], dead = out & ~marks->mark[slab] & ~marks->hold[slab];
	uint64_t freed = HEAPD_LOAD_ACQUIRE(&heap->t.freed[slab]);
	uint64_t ringed = harvest_ringed(heap->supply, first, k), held = out & ~dead & ~marks->mark[slab];

	*torn = out & ~marks->mark[slab] & marks->hold[slab] & ~ringed;
	if (dead & freed)
		__atomic_fetch_and(&heap->t.freed[slab], ~(dead & freed), __ATOMIC_RELAXED);
	/* What is held is of this cycle, and what lies in a ring is nothing yet. */
	heapd_past_survive(&heap->t.past[slab], out & marks->mark[slab] & ~marks->hold[slab] & ~ringed);
	if (held)
		counts->held_bytes += heapd_count_bits(held) * span->elemsize;
	return dead;
}

static uint32_t sweep_span(struct heap *heap, uint32_t first, struct sweep_counts *counts)
{
	uint32_t slabs = heapd_span_slabs(&heap->t.spans[first]), slab0 = heap->t.spans[first].slab0, k = 0;
	uint64_t before = heap->t.directory->stats.spans_freed, dead[SPAN_SLABS_MAX], torn[SPAN_SLABS_MAX], n;

	do
		dead[k] = sweep_slab(heap, first, k, &torn[k], counts);
	while (++k < slabs);
	n = harvest_release_swept(heap->supply, first, dead);
	counts->freed_objects += n;
	counts->freed_bytes += n * heap->t.spans[first].elemsize;
	/* A death in between leaves what was torn and is free now, which a recovery sees, not what is not torn any more and there still. */
	for (k = 0; k < slabs; k++)
		note_torn(heap->marks, slab0 + k, torn[k]);
	harvest_unused_span(heap->supply, first);
	counts->spans += heap->t.directory->stats.spans_freed - before;
	return slabs;
}

/* No counts: nothing is taken back yet. */
static uint32_t announce_span(struct heap *heap, uint32_t first, struct sweep_counts *counts)
{
	const struct heapd_span *span = &heap->t.spans[first];
	uint32_t slabs = heapd_span_slabs(span);

	(void)counts;
	for (uint32_t slab = span->slab0; slab < span->slab0 + slabs; slab++) {
		uint64_t dead = heap->t.out[slab] & ~heap->marks->mark[slab] & ~heap->marks->hold[slab];

		if (dead)
			__atomic_fetch_or(&heap->t.lent[slab], dead, __ATOMIC_RELAXED);
	}
	return slabs;
}

typedef uint32_t look_fn(struct heap *heap, uint32_t first, struct sweep_counts *counts);

/* From page `page` on, so many slabs: the page to go on with. */
static uint64_t look_piece(struct heap *heap, look_fn *look, uint64_t page, uint32_t most,
			   struct sweep_counts *counts)
{
	uint64_t high = heap->pages->free.high;
	uint32_t slabs = 0;

	while (page < high && slabs < most) {
		uint32_t first = heap->t.page_span[page];

		if (!first) {
			page++;
			continue;
		}
		page = first - 1u + heap->t.spans[first - 1].npages;
		slabs += look(heap, first - 1, counts);
	}
	return page < high ? page : UINT64_MAX;
}

static void look_at_all(struct heap *heap, look_fn *look, uint32_t most, struct sweep_counts *counts)
{
	for (uint64_t page = 0; page != UINT64_MAX;) {
		heap_lock(heap);
		page = look_piece(heap, look, page, most, counts);
		heap_unlock(heap);
		DELAY(4);
		heap_give_way(heap);
		beat_count(&heap->collection_beat);
	}
}

void sweeper_announce(struct heap *heap)
{
	look_at_all(heap, announce_span, SWEEPER_PIECE, NULL);
}

void sweeper_run(struct heap *heap, struct sweep_counts *counts)
{
	*counts = (struct sweep_counts){ 0 };
	look_at_all(heap, sweep_span,
		    poison_is_on(heap) || hardened_is_on(heap) ? PIECE_POISON : SWEEPER_PIECE, counts);
	heap_lock(heap);
	pages_clean_start(heap->pages);
	heap_unlock(heap);
}
