/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing: a judge that believes no count and no list, and recomputes both.
 *
 *   pages     each page is in one span or free, in the page map as in page_span            (I4)
 *   spans     fit their class and their pages; slab numbers belong to one span             (I4)
 *   slabs     only slots that exist are out; ready and ringed say what out and rings say   (I1)
 *   rings     shared slots are the private copy; a slab lies in at most one entry          (I1)
 *   held      what clients hold free is out, in no ring, and in one place                  (I1)
 *   counters  are the sums of what was found                                               (I14)
 *
 * No record is believed before it was compared with the tables' sizes: what is broken is reported, not followed.
 *
 * Clients go on meanwhile. Held words are gathered before the ring heads are read: a slab goes from ring
 * to hand and never back, so one that is seen in both was really in both. A slot can be seen in two
 * current slabs if it was popped here and freed there in between; so such a finding counts only if it
 * stands after looking again.
 */
#include "verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define LOOK_AGAIN 5

struct verifier {
	struct heap *heap;
	struct supply *supply;
	struct heapd_verify_reply *reply;
	uint64_t *in_ring; /* by slab, bits: its number was seen in an entry */
	uint64_t pages_in_spans;
	uint64_t taken,
		taken_first; /* pages that are in no span and taken: on their way back to the system */
	uint64_t slabs_high;
	uint64_t slab_units; /* of the spans found */
	uint64_t large;
	struct {
		uint64_t spans, pages, out, listed;
	} classes[HEAPD_CLASS_MAX];
};

static void fault(struct verifier *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fault(struct verifier *v, const char *fmt, ...)
{
	va_list args;

	if (v->reply->faults++)
		return;
	va_start(args, fmt);
	vsnprintf(v->reply->first, sizeof(v->reply->first), fmt, args);
	va_end(args);
}

static bool seen_in_ring(const struct verifier *v, uint32_t slab)
{
	return slab < v->slabs_high && v->in_ring[slab / 64] >> (slab % 64) & 1;
}

/* Whether a span's record can be followed: shape, numbers and pages lie inside the tables. */
static bool span_is_sound(const struct verifier *v, uint32_t first)
{
	const struct heapd_span *span = &v->heap->t.spans[first];
	uint32_t slabs;

	if (!span->slab_slots || !span->nslots || span->class >= HEAPD_CLASS_MAX || !span->npages ||
	    span->npages > v->heap->geometry.pages - first)
		return false;
	slabs = heapd_span_slabs(span);
	return slabs <= SPAN_SLABS_MAX && span->slab0 <= v->slabs_high &&
	       slabs <= v->slabs_high - span->slab0 && span_state_of(&v->supply->spans, first);
}

static bool entry_is_sound(const struct verifier *v, uint32_t class, uint64_t entry)
{
	uint32_t first = heapd_entry_page(entry), present = heapd_entry_present(entry);

	if (!present || first >= v->heap->geometry.pages || v->heap->t.page_span[first] != first + 1 ||
	    !span_is_sound(v, first) || v->heap->t.spans[first].class != class)
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
		fault(v, "I1: class %u: entry %llu of the ring is not what was put in", class,
		      (unsigned long long)at);
	if (!entry_is_sound(v, class, entry)) {
		fault(v, "I1: class %u: entry %llu names no slabs of the class", class,
		      (unsigned long long)at);
		return;
	}
	for (; present; present &= present - 1) {
		uint32_t k = heapd_entry_slab(entry) + (uint32_t)__builtin_ctz(present),
			 slab = span->slab0 + k;
		uint64_t given = v->heap->t.supplied[slab];

		if (seen_in_ring(v, slab))
			fault(v, "I1: slab %u lies in two ring entries", slab);
		if (given & ~v->supply->ledger.out[slab])
			fault(v, "I1: slab %u lies in a ring with slots that the ledger has as free", slab);
		if (!slab_flag(span_state_of(&v->supply->spans, first)->ringed, k))
			fault(v, "I1: slab %u lies in a ring and its span does not know", slab);
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
		fault(v, "I1: class %u: ring tail %llu is not what the ledger says", class,
		      (unsigned long long)tail);
		return;
	}
	for (uint64_t at = ring->head; at < ring->tail; at++)
		verify_entry(v, class, at, &bytes);
	if (bytes != v->supply->classes[class].bytes)
		fault(v, "I14: class %u: %llu bytes in its ring, counted as %llu", class,
		      (unsigned long long)bytes, (unsigned long long)v->supply->classes[class].bytes);
	v->reply->in_rings += bytes;
}

static void verify_rings(struct verifier *v)
{
	for (uint32_t class = 0; class < HEAPD_CLASS_MAX; ++class)
		verify_ring(v, class);
	if (v->reply->in_rings != v->supply->ring_bytes)
		fault(v, "I14: %llu bytes in rings, counted as %llu", (unsigned long long)v->reply->in_rings,
		      (unsigned long long)v->supply->ring_bytes);
}

static void verify_slab(struct verifier *v, uint32_t first, uint32_t k)
{
	const struct heapd_span *span = &v->heap->t.spans[first];
	const struct span_state *state = span_state_of(&v->supply->spans, first);
	uint32_t slab = span->slab0 + k;
	uint64_t out = v->supply->ledger.out[slab], valid = heapd_slab_valid(span, k);
	bool ringed = slab_flag(state->ringed, k), ready = !ringed && (valid & ~out);

	if (out & ~valid)
		fault(v, "I1: slab %u: slots are out that it does not have", slab);
	if (ringed != seen_in_ring(v, slab))
		fault(v, "I1: slab %u: its span has it %s a ring, the rings do not", slab,
		      ringed ? "in" : "outside");
	if (ready != slab_flag(state->ready, k))
		fault(v, "I1: slab %u: %s free slots to supply, listed otherwise", slab,
		      ready ? "has" : "has no");
	v->reply->slabs++;
	v->reply->out += (uint64_t)__builtin_popcountll(out) * span->elemsize;
	v->classes[span->class].out += (uint64_t)__builtin_popcountll(out);
	if (!span->magic)
		v->large += out ? span->elemsize : 0;
}

static void verify_span_shape(struct verifier *v, uint32_t first)
{
	const struct heapd_span *span = &v->heap->t.spans[first];
	const struct heapd_class *class = &v->heap->t.classes[span->class];
	uint64_t bytes = (uint64_t)span->npages << HEAPD_PAGE_SHIFT;

	if (!class->kind ||
	    (class->slot_size && (span->elemsize != class->slot_size || span->magic != class->magic ||
				  span->slab_slots != class->slab_slots)) ||
	    (!class->slot_size && (span->magic || span->nslots != 1)))
		fault(v, "I4: span at page %u is not cut as its class %u says", first, span->class);
	if (span->nslots * span->elemsize > bytes)
		fault(v, "I4: span at page %u: %u slots of %llu bytes do not fit %u pages", first,
		      span->nslots, (unsigned long long)span->elemsize, span->npages);
}

static void verify_span(struct verifier *v, uint32_t first)
{
	const struct heapd_span *span = &v->heap->t.spans[first];
	const struct span_state *state = span_state_of(&v->supply->spans, first);
	uint32_t slabs = heapd_span_slabs(span), busy = 0;
	bool ready = false;

	verify_span_shape(v, first);
	for (uint32_t k = 0; k < slabs; k++) {
		uint32_t owner;

		if (!ledger_span_of(&v->supply->ledger, span->slab0 + k, &owner) || owner != first)
			fault(v, "I4: slab number %u of the span at page %u belongs to another",
			      span->slab0 + k, first);
		busy += v->supply->ledger.out[span->slab0 + k] != 0;
		ready |= slab_flag(state->ready, k);
		verify_slab(v, first, k);
	}
	if (ready != state->listed)
		fault(v, "I1: span at page %u %s slabs to supply, listed otherwise", first,
		      ready ? "has" : "has no");
	if (busy != state->busy)
		fault(v, "I14: span at page %u: %u slabs in use, counted as %u", first, busy, state->busy);
	v->reply->spans++;
	v->slab_units += (slabs + HEAPD_SLAB_UNIT - 1) / HEAPD_SLAB_UNIT;
	v->classes[span->class].spans++;
	v->classes[span->class].pages += span->npages;
	v->classes[span->class].listed += state->listed;
}

/* One span, or one page that is in none: how many pages were looked at, 0 if nothing after it can be trusted. */
static uint64_t verify_page(struct verifier *v, uint64_t page)
{
	const uint32_t *page_span = v->heap->t.page_span;
	uint32_t first = page_span[page];
	uint64_t n;

	if (first && runmap_is_free(&v->supply->pages.free, page))
		fault(v, "I4: page %llu is in a span and free in the page map", (unsigned long long)page);
	if (!first && !runmap_is_free(&v->supply->pages.free, page) && !v->taken++)
		v->taken_first = page;
	if (!first)
		return 1;
	if (first != page + 1) {
		fault(v, "I4: page %llu belongs to a span that does not cover it", (unsigned long long)page);
		return 0;
	}
	if (!span_is_sound(v, (uint32_t)page)) {
		fault(v, "I4: span at page %llu has a record that makes no sense", (unsigned long long)page);
		return 0;
	}
	n = v->heap->t.spans[page].npages;
	for (uint64_t i = 1; i < n; i++)
		if (page_span[page + i] != first || runmap_is_free(&v->supply->pages.free, page + i))
			fault(v, "I4: page %llu is not wholly in its span", (unsigned long long)page + i);
	v->pages_in_spans += n;
	verify_span(v, (uint32_t)page);
	return n;
}

/* Every page is free or in the one span that its span's record covers. */
static void verify_pages(struct verifier *v)
{
	const struct pages *pages = &v->supply->pages;
	const struct runmap *numbers = &v->supply->spans.numbers;
	uint64_t n = 1;

	for (uint64_t page = 0; n && page < pages->free.high; page += n)
		n = verify_page(v, page);
	v->reply->pages = v->pages_in_spans;
	if (v->taken != pages->punched)
		fault(v, "I4: page %llu is outside a span and taken in the page map",
		      (unsigned long long)v->taken_first);
	if (v->pages_in_spans != pages->in_spans ||
	    pages->free.units - pages->free.free - pages->punched != pages->in_spans)
		fault(v, "I14: %llu pages in spans, counted as %llu", (unsigned long long)v->pages_in_spans,
		      (unsigned long long)pages->in_spans);
	if (numbers->units - numbers->free != v->slab_units)
		fault(v, "I4: spans have %llu units of slab numbers, %llu are taken",
		      (unsigned long long)v->slab_units,
		      (unsigned long long)(numbers->units - numbers->free));
}

/* Each class's list of spans with slabs to supply: as many as are marked as listed, and of the class. */
static void verify_lists(struct verifier *v)
{
	const struct spans *spans = &v->supply->spans;

	for (uint32_t c = 0; c < HEAPD_CLASS_MAX; c++) {
		uint64_t n = 0;
		uint32_t at = spans->ready[c];

		while (at != SPAN_NONE && n <= v->classes[c].listed && at < v->heap->geometry.pages &&
		       spans->states[at] && v->heap->t.spans[at].class == c) {
			at = spans->states[at]->next;
			n++;
		}
		if (at != SPAN_NONE || n != v->classes[c].listed)
			fault(v, "I1: class %u: its list of spans with slabs to supply is broken", c);
	}
}

static void verify_held_slab(struct verifier *v, const struct held_slab *s)
{
	uint64_t held = s->current | s->spare;

	if (held & ~v->supply->ledger.out[s->slab])
		fault(v, "I1: slab %u: a client holds free what the ledger has as free (0x%llx)", s->slab,
		      (unsigned long long)(held & ~v->supply->ledger.out[s->slab]));
	if (seen_in_ring(v, s->slab) && held & v->heap->t.supplied[s->slab])
		fault(v, "I1: slab %u: a client holds what lies in a ring", s->slab);
	if (s->twice)
		fault(v, "I1: slab %u: slots 0x%llx are free in two places", s->slab,
		      (unsigned long long)s->twice);
}

static bool any_twice(const struct held *held)
{
	for (uint32_t i = 0; i < held->capacity; i++)
		if (held->slots[i].twice)
			return true;
	return false;
}

static int gather(struct verifier *v)
{
	int r = held_gather(&v->supply->held, v->heap);

	for (int i = 0; r == 0 && i < LOOK_AGAIN && any_twice(&v->supply->held); i++)
		r = held_gather(&v->supply->held, v->heap);
	return r;
}

/* After rings and pages: what clients hold, and what waits to be harvested. */
static void verify_held(struct verifier *v)
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
		fault(v, "I1: %llu words of clients name no slab", (unsigned long long)held->senseless);
	v->reply->in_currents = held->current_bytes;
	v->reply->in_spares = held->spare_bytes - in_both;
}

static void count_freed(struct verifier *v)
{
	for (uint32_t slab = 0; slab < v->slabs_high; slab++) {
		uint64_t freed = HEAPD_READ_ONCE(v->heap->t.freed[slab]);
		uint32_t first;

		if (!ledger_span_of(&v->supply->ledger, slab, &first) || first >= v->heap->geometry.pages) {
			if (v->supply->ledger.out[slab])
				fault(v, "I1: slab number %u is out and belongs to no span", slab);
		} else if (freed) {
			v->reply->freed_pending +=
				(uint64_t)__builtin_popcountll(freed & v->supply->ledger.out[slab]) *
				v->heap->t.spans[first].elemsize;
		}
	}
}

static void verify_committed(struct verifier *v)
{
	const struct pages *pages = &v->supply->pages;
	uint64_t chunks = 0;

	for (uint64_t w = 0; w < (pages->chunks + 63) / 64; w++)
		chunks += (uint64_t)__builtin_popcountll(pages->committed[w]);
	if (chunks != pages->committed_chunks ||
	    chunks << HEAPD_CHUNK_SHIFT != v->heap->t.directory->stats.committed)
		fault(v, "I14: %llu chunks are committed, counted as %llu", (unsigned long long)chunks,
		      (unsigned long long)pages->committed_chunks);
}

static void verify_counters(struct verifier *v)
{
	const struct heapd_stats *stats = &v->heap->t.directory->stats;

	if (stats->out != v->reply->out)
		fault(v, "I14: %llu bytes are out, counted as %llu", (unsigned long long)v->reply->out,
		      (unsigned long long)stats->out);
	if (stats->large != v->large)
		fault(v, "I14: %llu bytes in large objects, counted as %llu", (unsigned long long)v->large,
		      (unsigned long long)stats->large);
	verify_committed(v);
	for (uint32_t c = 0; c < HEAPD_CLASS_MAX; c++) {
		const struct heapd_class_stats *class = &v->heap->t.class_stats[c];

		if (class->spans != v->classes[c].spans || class->pages != v->classes[c].pages ||
		    class->out_slots != v->classes[c].out)
			fault(v, "I14: class %u: %llu spans, %llu pages, %llu slots out; counted otherwise",
			      c, (unsigned long long)v->classes[c].spans,
			      (unsigned long long)v->classes[c].pages, (unsigned long long)v->classes[c].out);
	}
	uint64_t elsewhere = v->reply->in_rings + v->reply->in_currents + v->reply->in_spares +
			     v->reply->freed_pending;

	v->reply->allocated = v->reply->out > elsewhere ? v->reply->out - elsewhere : 0;
}

static int verify_locked(struct verifier *v)
{
	int r = gather(v);

	if (r < 0)
		return r;
	for (uint32_t class = 0; class < HEAPD_CLASS_MAX; ++class)
		if (v->supply->ledger.rings[class].tail)
			ring_note_taken(v->supply, class, clock_ns());
	verify_rings(v);
	verify_pages(v);
	verify_lists(v);
	verify_held(v);
	count_freed(v);
	verify_counters(v);
	return 0;
}

int verify_heap(struct heap *heap, struct heapd_verify_reply *reply)
{
	struct verifier *v = calloc(1, sizeof(*v));
	int r = -ENOMEM;

	if (!v)
		return -ENOMEM;
	*reply = (struct heapd_verify_reply){ 0 };
	heap_lock(heap);
	v->heap = heap;
	v->supply = heap->supply;
	v->reply = reply;
	v->slabs_high = v->supply->spans.numbers.high * HEAPD_SLAB_UNIT;
	v->in_ring = calloc(v->slabs_high / 64 + 1, 8);
	if (v->in_ring)
		r = verify_locked(v);
	heap_unlock(heap);
	free(v->in_ring);
	free(v);
	return r;
}
