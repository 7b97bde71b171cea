/* SPDX-License-Identifier: MIT */
/*
 * The collector's words, one of each kind for each slab, in memory of the daemon alone.
 *
 *   mark   bit set: the slot's object is grey or black, or the slot is free or became an object's after note P2: it
 *          is not this cycle's to judge. Written by the marker's threads, by the collector's thread between phases,
 *          and by whoever cuts a span. While the marker is at work nobody else may write the words of slabs that
 *          the page table leads to: with one thread it does not use atomic operations.
 *   hold   bit set: the slot was in a client's hands, free, at some time since the cycle's note P, so it may hold
 *          an object that no scan has seen: the sweep leaves it. Written under heap->lock.
 *   early  bit set: the object was shaded before marking could begin. The collector's thread alone.
 *   doomed bit set: the slot had been freed explicitly when the cycle began. Written under heap->lock.
 *   dying  bit set: the slot's object has died and is of a watched type: it waits to be taken, and is a root so long.
 *   done   bit set: it was taken, and is not queued again. Both until the slot is free; under heap->lock.
 *   torn   bit set: the last sweep left the slot because it was held, though nothing had reached it: what its
 *          object points to may be gone. Written by the sweep, under heap->lock.
 *
 * The tables are as long as the heap has slab numbers, and sparse. The last three are the ledger's: what they say holds for
 * the next daemon, too.
 */
#ifndef HEAPD_DAEMON_MARKS_H
#define HEAPD_DAEMON_MARKS_H

#include "heap.h"

struct ledger;

struct marks {
	uint64_t *mark;
	uint64_t *hold;
	uint64_t *early;
	uint64_t *doomed;
	uint64_t *dying;
	uint64_t *done;
	uint64_t *torn;
	uint64_t bytes; /* of each table's mapping */
};

/* Sets heap->marks. -ENOMEM. */
int marks_init(struct heap *heap);
void marks_deinit(struct heap *heap);
/* What the last daemon said of slots that are free: it died before it had taken it back. */
void marks_restore(struct heap *heap, const struct ledger *ledger);

/* What was said of a slot's last object is not of its next. Tables that nobody wrote to stay without memory. */
static inline void marks_forget(struct marks *marks, uint64_t slab, uint64_t slots)
{
	if ((marks->dying[slab] | marks->done[slab] | marks->torn[slab]) & slots) {
		HEAPD_WRITE_ONCE(marks->dying[slab], marks->dying[slab] & ~slots);
		marks->done[slab] &= ~slots;
		marks->torn[slab] &= ~slots;
	}
}

/*
 * A span was cut with these slab numbers: whatever is allocated in it this cycle is black from its birth. Of objects that lay
 * there nothing is said any more: their slots came back, here or before a recovery.
 */
static inline void marks_cut(const struct heap *heap, uint64_t slab, uint64_t n)
{
	if (!heap->marks)
		return;
	for (uint64_t i = slab; i < slab + n; i++) {
		__atomic_store_n(&heap->marks->mark[i], UINT64_MAX, __ATOMIC_RELAXED);
		heap->marks->hold[i] = UINT64_MAX;
	}
}

/*
 * Slots came back to the ledger, perhaps in the midst of a cycle: whatever gets them again is left by its sweep. With
 * heap->lock held.
 */
static inline void marks_back(const struct heap *heap, uint64_t slab, uint64_t slots)
{
	if (!heap->marks)
		return;
	heap->marks->hold[slab] |= slots;
	marks_forget(heap->marks, slab, slots);
}

#endif
