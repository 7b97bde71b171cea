/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing: the judge of where slots lie.
 *
 *   rings  shared slots are the private copy; a slab lies in at most one entry          (I1)
 *   held   what clients hold free is out, in no ring, and in one place                  (I1)
 *
 * Clients go on meanwhile. Held words are gathered before the ring heads are read: a slab goes from ring
 * to hand and never back, so one that is seen in both was really in both. A slot can be seen in two
 * current slabs if it was popped here and freed there in between; so such a finding counts only if it
 * stands after looking again.
 */
#include "places.h"

#include "clock.h"

#define LOOK_AGAIN 5

static bool entry_is_sound(const struct verifier *v, uint32_t class, uint64_t entry)
{
	uint32_t first = heapd_entry_page(entry), present = heapd_entry_present(entry);

	if (!present || first >= v->heap->geometry.pages || v->heap->t.page_span[first] != first + 1 ||
	    !verifier_span_is_sound(v, first) || v->heap->t.spans[first].class != class)
		return false;
	return heapd_entry_slab(entry) + 31u - (uint32_t)__builtin_clz(present) <
	       heapd_span_slabs(&v->heap->t.spans[first]);
}

/* Shared slots against the private copy, and each slab in one entry. */
static void verify_entry(struct verifier *v, uint32_t class, uint64_t at, uint64_t *bytes)
{
	uint64_t entry = v->supply->ledger.rings[class].entries[at % HEAPD_RING_SLOTS];
	uint32_t first = heapd_entry_page(entry), present = heapd_entry_present(entry);
	const struct heapd_span *span = &v->heap->t.spans[first];

	if (v->heap->t.rings[class].slots[at % HEAPD_RING_SLOTS] != entry)
		verifier_fault(v, "I1: class %u: entry %llu of the ring is not what was put in", class,
			       (unsigned long long)at);
	if (!entry_is_sound(v, class, entry)) {
		verifier_fault(v, "I1: class %u: entry %llu names no slabs of the class", class,
			       (unsigned long long)at);
		return;
	}
	for (; present; present &= present - 1) {
		uint32_t k = heapd_entry_slab(entry) + (uint32_t)__builtin_ctz(present),
			 slab = span->slab0 + k;
		uint64_t given = v->heap->t.supplied[slab];

		if (verifier_in_ring(v, slab))
			verifier_fault(v, "I1: slab %u lies in two ring entries", slab);
		if (given & ~v->supply->ledger.out[slab])
			verifier_fault(v, "I1: slab %u lies in a ring with slots that the ledger has as free",
				       slab);
		if (!bits_get(span_state_of(&v->supply->spans, first)->ringed, k))
			verifier_fault(v, "I1: slab %u lies in a ring and its span does not know", slab);
		v->in_ring[slab / 64] |= 1ull << (slab % 64);
		*bytes += (uint64_t)__builtin_popcountll(given) * span->elemsize;
	}
}

static void verify_ring(struct verifier *v, uint32_t class)
{
	struct ledger_ring *ring = &v->supply->ledger.rings[class];
	uint64_t tail = v->heap->t.rings[class].tail, bytes = 0;

	if (!ring->tail && !tail)
		return;
	if (ring->tail != tail || ring->head > tail || tail - ring->head > HEAPD_RING_SLOTS) {
		verifier_fault(v, "I1: class %u: ring tail %llu is not what the ledger says", class,
			       (unsigned long long)tail);
		return;
	}
	for (uint64_t at = ring->head; at < ring->tail; at++)
		verify_entry(v, class, at, &bytes);
	if (bytes != v->supply->classes[class].bytes)
		verifier_fault(v, "I14: class %u: %llu bytes in its ring, counted as %llu", class,
			       (unsigned long long)bytes,
			       (unsigned long long)v->supply->classes[class].bytes);
	v->reply->in_rings += bytes;
}

void places_verify_rings(struct verifier *v)
{
	for (uint32_t class = 0; class < HEAPD_CLASS_MAX; ++class)
		verify_ring(v, class);
	if (v->reply->in_rings != v->supply->ring_bytes)
		verifier_fault(v, "I14: %llu bytes in rings, counted as %llu",
			       (unsigned long long)v->reply->in_rings,
			       (unsigned long long)v->supply->ring_bytes);
}

static void verify_held_slab(struct verifier *v, const struct held_slab *s)
{
	uint64_t held = s->current | s->spare;

	if (held & ~v->supply->ledger.out[s->slab])
		verifier_fault(v, "I1: slab %u: a client holds free what the ledger has as free (0x%llx)",
			       s->slab, (unsigned long long)(held & ~v->supply->ledger.out[s->slab]));
	if (verifier_in_ring(v, s->slab) && held & v->heap->t.supplied[s->slab])
		verifier_fault(v, "I1: slab %u: a client holds what lies in a ring", s->slab);
	if (s->twice)
		verifier_fault(v, "I1: slab %u: slots 0x%llx are free in two places", s->slab,
			       (unsigned long long)s->twice);
}

static bool any_twice(const struct held *held)
{
	for (uint32_t i = 0; i < held->capacity; i++)
		if (held->slots[i].twice)
			return true;
	return false;
}

int places_gather(struct verifier *v)
{
	int r = held_gather(&v->supply->held, v->heap);

	for (int i = 0; r == 0 && i < LOOK_AGAIN && any_twice(&v->supply->held); i++)
		r = held_gather(&v->supply->held, v->heap);
	return r;
}

/* After rings and pages: what clients hold, and what waits to be harvested. */
void places_verify_held(struct verifier *v)
{
	const struct held *held = &v->supply->held;
	uint64_t in_both = 0;

	for (uint32_t i = 0; i < held->capacity; i++) {
		const struct held_slab *s = &held->slots[i];

		if (!held_any(s))
			continue;
		verify_held_slab(v, s);
		in_both += (uint64_t)__builtin_popcountll(s->current & s->spare) *
			   v->heap->t.spans[s->span].elemsize;
	}
	if (held->senseless)
		verifier_fault(v, "I1: %llu words of clients name no slab",
			       (unsigned long long)held->senseless);
	v->reply->in_currents = held->current_bytes;
	v->reply->in_spares = held->spare_bytes - in_both;
}

void places_free(const struct verifier *v, uint64_t *free_slots)
{
	const struct held *held = &v->supply->held;

	for (uint32_t slab = 0; slab < v->slabs_high; slab++)
		if (verifier_in_ring(v, slab))
			free_slots[slab] |= v->heap->t.supplied[slab];
	for (uint32_t i = 0; i < held->capacity; i++)
		free_slots[held->slots[i].slab] |= held->slots[i].current | held->slots[i].spare;
}
