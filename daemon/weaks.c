/* SPDX-License-Identifier: MIT */
/*
 * Owns the clearing of weak cells: nobody gets an object out of a cell that the sweep then takes, and each object that
 * somebody got stays.
 *
 * When marking has ended, no white object is reachable but through cells (cycle.c). All barriers are on still, and all
 * threads have been scanned. A thread that reads a cell now swaps its word p for p|1, "touched", and only then
 * has p (weak.c of the client). We swap p for 0 before p can be swept. Both are compare-and-swaps of one
 * word, so they have an order, and need no fence: either the thread was first, our swap fails, and p is revived; or
 * we were, and the thread finds 0.
 *
 * A round. First every touched word gets its bit back, and its object is revived if it is white. If any was, the round
 * is over: what it leads to has to be marked before anything is cleared. Then every word whose object is white
 * is swapped for 0; where that fails because it was touched meanwhile, the object is revived. Rounds end: each but
 * the last makes a white object grey, also against a client that writes whatever it likes into cells.
 * After a round that revived nothing every cell holds 0 or an object that stays; a thread that reads one afterwards
 * gets what is marked, and one that read before touched it, and was seen.
 *
 * Of several cells of one object some may be cleared already when another is touched: the object lives, and those stay
 * cleared.
 *
 * What stays is what is marked. A held slot whose mark is clear is swept by nobody (sweeper.c), but what it points to
 * may be: its object may have been made and dropped before its maker was scanned. It may as well be alive, made after
 * its maker's scan. So it is marked, with all that it leads to, if a cell leads to it.
 *
 * Cells that are looked at: all slots of the class that are out.
 *   - One that is dead itself: nobody reads it any more. What it costs is at most a revival for one cycle: its slot says 0 when it
 *     is free (cells.c).
 *   - One that was made in this cycle: its maker held the object, so that is marked, or held, or its cell was touched from
 *     its birth (a thread that had been scanned may have got the object out of another cell just now).
 *   - One in a span that was cut since the walk began: made by a scanned thread, so as the one before. It may stay
 *     touched, which keeps its object in the next cycle, and no longer.
 *   - A free slot that is poison is left as it is: in a hardened heap whoever is given it looks for that.
 *   - A free slot says 0, unless a client that keeps no rules has written there. To clear one is a swap from what it says: whoever
 *     allocates the slot zeroes it and stores its own word, and the swap succeeds after that only if the new word is the one that was
 *     read; but then its object is held by the cell's maker, so marked.
 *
 * A reader that may not write the heap cannot touch. It shades what it read, executes a full fence, and reads the word again;
 * we swap, execute a full fence, then look at the barrier rings once more (cycle.c, by weaks_settle()'s rule). So it
 * finds 0, or we find its entry, and the object lives, though this cell may have been cleared.
 */
#include "weaks.h"

#include "marks.h"
#include "slots.h"
#include "walk.h"

struct weaks {
	struct heap *heap;
	struct marker *marker;
	void (*look)(struct weaks *weaks, struct heapd_weak_cell *cell);
	uint64_t revived, cleared;
};

enum fate {
	STAYS,
	UNDECIDED, /* held: the sweep leaves it, and what it points to nobody has marked */
	GOES,      /* also what is no object any more: it was freed explicitly */
};

/* With heap->lock held, and with no marking under way. */
static enum fate fate_of(const struct heap *heap, uint64_t word)
{
	struct slot slot;
	uint64_t bit;

	if (!slot_find(&heap->t, word, &slot))
		return GOES;
	bit = UINT64_C(1) << slot.bit;
	if (!(heap->t.out[slot.slab] & bit))
		return GOES;
	if (HEAPD_READ_ONCE(heap->marks->mark[slot.slab]) & bit)
		return STAYS;
	return heap->marks->hold[slot.slab] & bit ? UNDECIDED : GOES;
}

static void revive(struct weaks *weaks, uint64_t word)
{
	weaks->revived += marker_shade(weaks->marker, word);
}

/* If the swap fails, the slot has another cell by now, or a client that keeps no rules. */
static void look_touched(struct weaks *weaks, struct heapd_weak_cell *cell)
{
	uint64_t word = HEAPD_LOAD_ACQUIRE(&cell->word), object = word & ~(uint64_t)HEAPD_WEAK_TOUCHED;

	if (word == object || word == HEAPD_POISON_WORD)
		return;
	__atomic_compare_exchange_n(&cell->word, &word, object, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	revive(weaks, object);
}

static void look_dead(struct weaks *weaks, struct heapd_weak_cell *cell)
{
	uint64_t word = HEAPD_LOAD_ACQUIRE(&cell->word), object = word & ~(uint64_t)HEAPD_WEAK_TOUCHED;
	enum fate fate;

	if (!object || word == HEAPD_POISON_WORD)
		return;
	fate = fate_of(weaks->heap, object);
	if (fate == STAYS)
		return;
	if (fate == GOES && word == object &&
	    __atomic_compare_exchange_n(&cell->word, &word, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		weaks->cleared++;
	else if (fate == UNDECIDED || word == (object | HEAPD_WEAK_TOUCHED))
		revive(weaks, object);
}

static uint32_t look_span(void *arg, uint32_t first)
{
	struct weaks *weaks = arg;
	const struct heapd_tables *t = &weaks->heap->t;
	const struct heapd_span *span = &t->spans[first];
	uint32_t slabs = heapd_span_slabs(span);

	if (span->class != HEAPD_CLASS_WEAK)
		return 0;
	for (uint32_t k = 0; k < slabs; k++) {
		/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
		struct heapd_weak_cell *cells = (void *)(uintptr_t)(t->base +
								    ((uint64_t)first << HEAPD_PAGE_SHIFT) +
								    heapd_slab_offset(span, k));

		for (uint64_t out = t->out[span->slab0 + k]; out; out &= out - 1)
			weaks->look(weaks, &cells[__builtin_ctzll(out)]);
	}
	return slabs;
}

uint64_t weaks_settle(struct heap *heap, struct marker *marker, uint64_t *cleared)
{
	struct weaks weaks = { .heap = heap, .marker = marker, .look = look_touched };

	if (!HEAPD_READ_ONCE(heap->t.class_stats[HEAPD_CLASS_WEAK].spans))
		return 0;
	walk_spans(heap, look_span, &weaks);
	if (weaks.revived)
		return weaks.revived;
	weaks.look = look_dead;
	walk_spans(heap, look_span, &weaks);
	*cleared += weaks.cleared;
	/* Pairs with the one of a reader's: the rings are looked at after this. */
	HEAPD_FENCE();
	return weaks.revived;
}
