/* SPDX-License-Identifier: MIT */
/*
 * Newborn slots: those that held no object at this cycle's note P2 (daemon/cycle.c). What is freed of them is given out
 * again at once, though the barrier is on; all other slots wait for the cycle's end. So who allocates and frees while the
 * marker works goes on in the slabs that it has, and needs no fresh memory for each object.
 *
 * Which they are. Who takes slabs from a ring, and has read MARK before, notes the cycle in born[] of each. The daemon
 * publishes MARK after note P2, so the slab lay in the ring then, or was supplied since; either way its slots in supplied[],
 * which say with what the slab was supplied last, were nobody's at P2, or at some moment after it. A slot of such a slab that
 * is not in supplied[] may hold an object older than that.
 *
 * Why it may be. All that was reachable at P2 becomes marked, along pointers between objects that were there then, each
 * logged by who overwrites it: nothing of that is lost with an object that was made since. What else that object led to,
 * some thread had from what was reachable at P2, or made since itself (cycle.c, I5). The slot itself is left by the sweep
 * whatever it holds: its mark bit is set, or its hold bit (holds.c), and both stay as they are until the cycle's end. The
 * marker need not see what is in it; if it does look, it reads words that are pointers or are none, as of any other new object.
 *
 * (Reading the phase later, but before the slab is installed, would do: the model has it.)
 *
 * The note is a release, and read by an acquire: with it, supplied[] is what the slab was taken with, or later.
 *
 * Looked at inside the gate, with what the gate said: what is set in a current slab is there before the next cycle gathers.
 * In a later cycle the note names another one. That cycles' numbers go round takes 2^32 of them.
 */
#ifndef HEAPD_CLIENT_NEWBORN_H
#define HEAPD_CLIENT_NEWBORN_H

#include "client.h"
#include "heapd/mutant.h"
#include "heapd/phase.h"

/* Of slabs just taken from a ring; now: read (acquire) before they were. */
static inline void newborn_note(const struct heapd_heap *heap, const struct heapd_batch *batch, uint64_t now)
{
	uint32_t *of = &heap->t.born[heap->t.spans[heapd_entry_page(batch->entry)].slab0 +
				     heapd_entry_slab(batch->entry)];

	if (likely(heapd_now_phase(now) != HEAPD_PHASE_MARK) &&
	    !(MUTANT(newborn_early) && heapd_now_barrier(now)))
		return;
	for (uint32_t present = heapd_entry_present(batch->entry); present; present &= present - 1)
		HEAPD_STORE_RELEASE(&of[__builtin_ctz(present)], heapd_now_cycle(now));
}

/* on: the cycle that this thread's barrier is on for. */
static inline bool newborn_is(const struct heapd_heap *heap, uint32_t slab, uint32_t index, uint32_t on)
{
	return HEAPD_LOAD_ACQUIRE(&heap->t.born[slab]) == on &&
	       (HEAPD_READ_ONCE(heap->t.supplied[slab]) >> index & 1 || MUTANT(newborn_by_slab));
}

#endif
