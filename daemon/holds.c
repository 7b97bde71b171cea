/* SPDX-License-Identifier: MIT */
/*
 * Owns the hold words, and the state in which marking finds the mark words.
 *
 * A slot that is swept must have held an object when the threads were scanned, an object that nobody reached. A
 * slot that became an object later must be left. Let s be such a slot, allocated after step 3 looked at it. Its bit
 * was in a current slab just before. No bit has been set in a current slab since handshake 1, but for slots that are in
 * one of the words below already (client/newborn.h), so the bit was there
 * when step 3 read that word, or the slab was installed later. If later, it came from a spare, noted as a spare or
 * as being installed when step 3 read those, which it does first; or from a ring, taken after note P; or from
 * the hands of a thread between the two, which is inside an operation, so handshake 1 waited for its end.
 * In each case the bit is in a hold word:
 *
 *   in a current slab, spare or note at step 3            holds_gather()
 *   taken from a ring between note P and note P2          ring.c, as the head is seen to have moved
 *   in a span that was cut since note P                   marks_cut()
 *   come back to the ledger since                         marks_back()
 *   in a ring at note P2, or in the ledger                its mark bit is set in holds_end()
 *
 * The last are black from their birth: never marked, never queued, or a thread that allocates and publishes in a
 * loop would keep marking alive for ever. The others are held but not black: an object that a thread made of one
 * before its scan may point to what nothing else does, so if it is reached it is marked and scanned as any other. They
 * are as many as they are, and each is marked once.
 *
 * What is handed back: a thread clears its spare, then shows the batch, all of it inside an operation. A batch that
 * step 3 did not see as a spare, because it was between the two, is shown by the time its thread has been scanned:
 * holds_end() takes all that is shown then, before it sets the mark words. A batch that is shown later was a spare at
 * step 3, and is held, or was taken since. So no slot is both swept and handed back.
 */
#include "holds.h"

#include <string.h>

#include "clock.h"
#include "collection.h"
#include "heapd/delay.h"
#include "heapd/mutant.h"
#include "marks.h"
#include "supply.h"

static uint64_t slabs_used(const struct supply *supply)
{
	return supply->spans.numbers.high * HEAPD_SLAB_UNIT;
}

static void note_doomed(struct heap *heap)
{
	uint64_t n = slabs_used(heap->supply);

	for (uint64_t slab = 0; slab < n; slab++)
		heap->marks->doomed[slab] = HEAPD_LOAD_ACQUIRE(&heap->t.freed[slab]) & heap->t.out[slab];
}

void holds_begin(struct heap *heap)
{
	struct supply *supply = heap->supply;

	heap_lock(heap);
	if (heap->t.directory->cycle.free_mode == HEAPD_FREE_CHECKED)
		note_doomed(heap);
	ring_note_all(supply, clock_ns());
	memset(heap->marks->hold, 0, slabs_used(supply) * 8);
	heap->collection->active = heap->collection->holding = true;
	heap_unlock(heap);
}

int holds_gather(struct heap *heap)
{
	struct supply *supply = heap->supply;
	int r;

	heap_lock(heap);
	r = held_gather(&supply->held, heap);
	for (uint32_t i = 0; r == 0 && i < supply->held.capacity; i++) {
		const struct held_slab *s = &supply->held.slots[i];

		uint64_t spare = MUTANT(spares_unheld) ? 0 : s->spare | s->moving;
		uint64_t current = MUTANT(currents_unheld) ? 0 : s->current;

		if (held_any(s))
			heap->marks->hold[s->slab] |= spare | current;
	}
	heap_unlock(heap);
	return r;
}

static void mark_ringed(struct supply *supply, uint64_t entry)
{
	const struct heapd_span *span = &supply->heap->t.spans[heapd_entry_page(entry)];

	for (uint32_t present = heapd_entry_present(entry); present; present &= present - 1) {
		uint32_t slab = span->slab0 + heapd_entry_slab(entry) + (uint32_t)__builtin_ctz(present);

		supply->heap->marks->mark[slab] |= supply->heap->t.supplied[slab];
	}
}

void holds_end(struct heap *heap)
{
	struct supply *supply = heap->supply;
	uint64_t n;

	heap_lock(heap);
	n = slabs_used(supply); /* the supplier cuts more until then */
	if (!MUTANT(handed_back_unnoted))
		harvest_handback(supply, true);
	ring_note_all(supply, clock_ns());
	heap->collection->holding = false;
	for (uint64_t slab = 0; slab < n; slab++)
		heap->marks->mark[slab] = ~heap->t.out[slab];
	for (uint32_t class = 0; class < HEAPD_CLASS_MAX && !MUTANT(ringed_unmarked); ++class) {
		const struct ledger_ring *ring = &supply->ledger.rings[class];

		for (uint64_t at = ring->head; at < ring->tail; at++)
			mark_ringed(supply, ring->entries[at % HEAPD_RING_SLOTS]);
	}
	heap_unlock(heap);
}

void holds_drop(struct heap *heap)
{
	heap_lock(heap);
	heap->collection->active = heap->collection->holding = false;
	heap_unlock(heap);
}
