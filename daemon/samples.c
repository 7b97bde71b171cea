/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; sets bits that spans_slots_out() clears when a slot is given out again, both under heap->lock.
 *
 * An address comes a moment after the sample was taken. If its object was given back and the slot given out again
 * meanwhile, the next object is taken for it: nobody can tell them apart by then.
 */
#include "samples.h"

#include "slots.h"

void samples_mark(struct heap *heap, struct heapd_sampled *sampled)
{
	uint32_t n = sampled->count < HEAPD_SAMPLED_PAGE ? sampled->count : HEAPD_SAMPLED_PAGE;

	heap_lock(heap);
	for (uint32_t i = 0; i < n; i++) {
		struct slot slot;
		struct heapd_slab_past *past;

		if (!slot_find(&heap->t, sampled->objects[i], &slot) ||
		    !(heap->t.out[slot.slab] >> slot.bit & 1)) {
			sampled->objects[i] = 0;
			continue;
		}
		past = &heap->t.past[slot.slab];
		HEAPD_WRITE_ONCE(past->sampled, past->sampled | 1ull << slot.bit);
	}
	heap_unlock(heap);
	sampled->count = n;
}
