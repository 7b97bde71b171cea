/* SPDX-License-Identifier: MIT */
/*
 * A slab: up to 64 consecutive slots of a span, and its state as words of one bit per slot.
 * Slab number n of a heap has: out[n], supplied[n] and past[n] in the directory, freed[n] in control. Numbers are dense, span after span, so these tables stay as small as the heap is.
 */
#ifndef HEAPD_SLAB_H
#define HEAPD_SLAB_H

#include "heapd/atomic.h"
#include "heapd/span.h"

#define HEAPD_SLAB_UNIT 8u /* slab numbers are given to spans in units of 8 */

/* The slots that slab k of a span has: the last one may be short. */
static inline uint64_t heapd_slab_valid(const struct heapd_span *s, uint32_t k)
{
	uint32_t first = k * s->slab_slots;

	if (first >= s->nslots)
		return 0;
	uint32_t n = s->nslots - first < s->slab_slots ? s->nslots - first : s->slab_slots;
	return n >= 64 ? UINT64_MAX : (1ull << n) - 1;
}

/*
 * What tools ask of objects, and nothing else goes by: the daemon writes it, under heap->lock. Bit i of age[0], [1] and
 * [2] together are a number: how many collections have found slot i's object reachable since it was given out, one in
 * whose course it was made perhaps among them; HEAPD_AGE_MAX stands for as many or more. sampled: somebody keeps a
 * sample of the object. All begins anew when the slot is given out, before its bit of out[] is set: so a sample whose
 * bits of both are set is of an object that was not given back since. Of what a client frees and allocates again out of one slab that
 * it holds all the while nobody hears. To count on costs the sweep about a nanosecond a slab.
 */
struct heapd_slab_past {
	uint64_t age[3];
	uint64_t sampled;
};
_Static_assert(sizeof(struct heapd_slab_past) == 32, "half a cache line");
#define HEAPD_AGE_MAX 7u

/* What nobody wrote to stays without memory. */
static inline void heapd_past_begin(struct heapd_slab_past *p, uint64_t slots)
{
	if (!((p->age[0] | p->age[1] | p->age[2] | p->sampled) & slots))
		return;
	for (unsigned i = 0; i < 3; i++)
		HEAPD_WRITE_ONCE(p->age[i], p->age[i] & ~slots);
	HEAPD_STORE_RELEASE(&p->sampled, p->sampled & ~slots);
}

/* Adds one to the numbers of all these slots at once, but where it is HEAPD_AGE_MAX. */
static inline void heapd_past_survive(struct heapd_slab_past *p, uint64_t slots)
{
	uint64_t carry = slots & ~(p->age[0] & p->age[1] & p->age[2]);

	for (unsigned i = 0; i < 3 && carry; i++) {
		uint64_t was = p->age[i];

		HEAPD_WRITE_ONCE(p->age[i], was ^ carry);
		carry &= was;
	}
}

/* Which of the slots have that age. */
static inline uint64_t heapd_past_aged(const struct heapd_slab_past *p, unsigned age)
{
	uint64_t slots = UINT64_MAX;

	for (unsigned i = 0; i < 3; i++)
		slots &= age >> i & 1 ? HEAPD_READ_ONCE(p->age[i]) : ~HEAPD_READ_ONCE(p->age[i]);
	return slots;
}

/* Byte offset of slab k from the start of its span. */
static inline uint64_t heapd_slab_offset(const struct heapd_span *s, uint32_t k)
{
	return (uint64_t)k * s->slab_slots * s->elemsize;
}

#endif
