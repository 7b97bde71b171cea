/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; sets bits that spans_slots_out() clears when a slot is given out again, both under heap->lock.
 *
 * An address comes a moment after the sample was taken. If its object was given back and the slot given out again
 * meanwhile, the next object is taken for it: nobody can tell them apart by then. Not if the slot is still free: in a ring or a
 * spare, or freed and not taken back yet, which clients say (lent[], freed[]): a hint, but so is the sample.
 */
#include "samples.h"

#include "slots.h"

static bool holds_object(const struct heap *heap, const struct slot *slot)
{
	uint64_t free = HEAPD_READ_ONCE(heap->t.lent[slot->slab]) |
			HEAPD_READ_ONCE(heap->t.freed[slot->slab]);

	return heap->t.out[slot->slab] & ~free & 1ull << slot->bit;
}

void samples_mark(struct heap *heap, struct heapd_sampled *sampled)
{
	uint32_t n = sampled->count < HEAPD_SAMPLED_PAGE ? sampled->count : HEAPD_SAMPLED_PAGE;

	heap_lock(heap);
	for (uint32_t i = 0; i < n; i++) {
		struct slot slot;
		struct heapd_slab_past *past;

		if (!slot_find(&heap->t, sampled->objects[i], &slot) || !holds_object(heap, &slot)) {
			sampled->objects[i] = 0;
			continue;
		}
		past = &heap->t.past[slot.slab];
		HEAPD_WRITE_ONCE(past->sampled, past->sampled | 1ull << slot.bit);
	}
	heap_unlock(heap);
	sampled->count = n;
}
