/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing: a judge that believes no count and no list, and recomputes both.
 *
 *   pages     each page is in one span or free, in the page map as in page_span            (I4)
 *   spans     fit their class and their pages; slab numbers belong to one span             (I4)
 *   slabs     only slots that exist are out; ready and ringed say what out and rings say;
 *             only those that are out are said to have died, or to be torn                 (I1)
 *   places    rings and what clients hold: places.c                                        (I1)
 *   reach     what roots lead to: reachable.c, where nothing else was found                (I5, I6)
 *   counters  are the sums of what was found                                               (I14)
 *
 * No record is believed before it was compared with the tables' sizes: what is broken is reported, not followed.
 */
#include "verify.h"

#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "marks.h"
#include "places.h"
#include "quarantine.h"
#include "reachable.h"

/* What is said of objects alone. */
static uint64_t marks_of(const struct heap *heap, uint32_t slab)
{
	const struct marks *marks = heap->marks;

	return marks ? marks->dying[slab] | marks->done[slab] | marks->torn[slab] : 0;
}

static void verify_slab(struct verifier *v, uint32_t first, uint32_t k)
{
	const struct heapd_span *span = &v->heap->t.spans[first];
	const struct span_state *state = span_state_of(&v->supply->spans, first);
	uint32_t slab = span->slab0 + k;
	uint64_t out = v->supply->ledger.out[slab], valid = heapd_slab_valid(span, k);
	bool ringed = bits_get(state->ringed, k), ready = !ringed && !state->lost && (valid & ~out);

	if (out & ~valid)
		verifier_fault(v, "I1: slab %u: slots are out that it does not have", slab);
	if (marks_of(v->heap, slab) & ~out)
		verifier_fault(v, "I1: slab %u: free slots have died, or are torn", slab);
	if (ringed != verifier_in_ring(v, slab))
		verifier_fault(v, "I1: slab %u: its span has it %s a ring, the rings do not", slab,
			       ringed ? "in" : "outside");
	if (ready != bits_get(state->ready, k))
		verifier_fault(v, "I1: slab %u: %s free slots to supply, listed otherwise", slab,
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
		verifier_fault(v, "I4: span at page %u is not cut as its class %u says", first, span->class);
	if (span->nslots * span->elemsize > bytes)
		verifier_fault(v, "I4: span at page %u: %u slots of %llu bytes do not fit %u pages", first,
			       span->nslots, (unsigned long long)span->elemsize, span->npages);
}

static void verify_span(struct verifier *v, uint32_t first)
{
	const struct heapd_span *span = &v->heap->t.spans[first];
	const struct span_state *state = span_state_of(&v->supply->spans, first);
	uint32_t slabs = heapd_span_slabs(span), busy = 0, slots = 0;
	bool ready = false;

	verify_span_shape(v, first);
	for (uint32_t k = 0; k < slabs; k++) {
		uint32_t owner;

		if (!ledger_span_of(&v->supply->ledger, span->slab0 + k, &owner) || owner != first)
			verifier_fault(v, "I4: slab number %u of the span at page %u belongs to another",
				       span->slab0 + k, first);
		busy += v->supply->ledger.out[span->slab0 + k] != 0;
		slots += (uint32_t)__builtin_popcountll(v->supply->ledger.out[span->slab0 + k]);
		ready |= bits_get(state->ready, k);
		verify_slab(v, first, k);
	}
	if (ready != state->listed)
		verifier_fault(v, "I1: span at page %u %s slabs to supply, listed otherwise", first,
			       ready ? "has" : "has no");
	if (busy != state->busy)
		verifier_fault(v, "I14: span at page %u: %u slabs in use, counted as %u", first, busy,
			       state->busy);
	if (slots != state->out || (state->listed && state->quarter != spans_quarter(slots, span->nslots)))
		verifier_fault(
			v,
			"I14: span at page %u: %u slots are out, counted as %u, in quarter %u of the lists",
			first, slots, state->out, state->quarter);
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
		verifier_fault(v, "I4: page %llu is in a span and free in the page map",
			       (unsigned long long)page);
	if (!first && !runmap_is_free(&v->supply->pages.free, page) && !v->taken++)
		v->taken_first = page;
	if (!first)
		return 1;
	if (first != page + 1) {
		verifier_fault(v, "I4: page %llu belongs to a span that does not cover it",
			       (unsigned long long)page);
		return 0;
	}
	if (!verifier_span_is_sound(v, (uint32_t)page)) {
		verifier_fault(v, "I4: span at page %llu has a record that makes no sense",
			       (unsigned long long)page);
		return 0;
	}
	n = v->heap->t.spans[page].npages;
	for (uint64_t i = 1; i < n; i++)
		if (page_span[page + i] != first || runmap_is_free(&v->supply->pages.free, page + i))
			verifier_fault(v, "I4: page %llu is not wholly in its span",
				       (unsigned long long)page + i);
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

	for (uint64_t page = 0; n && page < pages->free.high; page += n) {
		beat_count(&v->heap->walk_beat);
		n = verify_page(v, page);
	}
	v->reply->pages = v->pages_in_spans;
	if (v->taken != pages->punched)
		verifier_fault(v, "I4: page %llu is outside a span and taken in the page map",
			       (unsigned long long)v->taken_first);
	if (v->pages_in_spans != pages->in_spans ||
	    pages->free.units - pages->free.free - pages->punched != pages->in_spans)
		verifier_fault(v, "I14: %llu pages in spans, counted as %llu",
			       (unsigned long long)v->pages_in_spans, (unsigned long long)pages->in_spans);
	if (numbers->units - numbers->free != v->slab_units)
		verifier_fault(v, "I4: spans have %llu units of slab numbers, %llu are taken",
			       (unsigned long long)v->slab_units,
			       (unsigned long long)(numbers->units - numbers->free));
}

/* How many spans a list has, all of its class and quarter; UINT64_MAX: it is broken, or longer than `most`. */
static uint64_t list_length(const struct verifier *v, uint32_t class, uint32_t quarter, uint64_t most)
{
	const struct spans *spans = &v->supply->spans;
	uint32_t at = spans->ready[quarter][class];
	uint64_t n = 0;

	for (; at != SPAN_NONE; n++) {
		if (n >= most || at >= v->heap->geometry.pages || !spans->states[at] ||
		    v->heap->t.spans[at].class != class || spans->states[at]->quarter != quarter)
			return UINT64_MAX;
		at = spans->states[at]->next;
	}
	return n;
}

/* Each class's lists of spans with slabs to supply: as many as are marked as listed, each where it belongs. */
static void verify_lists(struct verifier *v)
{
	for (uint32_t c = 0; c < HEAPD_CLASS_MAX; c++) {
		uint64_t listed = v->classes[c].listed, n = 0;

		for (uint32_t quarter = 0; quarter < SPAN_QUARTERS && n <= listed; quarter++)
			n += list_length(v, c, quarter, listed - n);
		if (n != listed)
			verifier_fault(v, "I1: class %u: its list of spans with slabs to supply is broken",
				       c);
	}
}

static void count_freed(struct verifier *v)
{
	for (uint32_t slab = 0; slab < v->slabs_high; slab++) {
		uint64_t freed = HEAPD_READ_ONCE(v->heap->t.freed[slab]);
		uint32_t first;

		beat_step(&v->heap->walk_beat, slab);
		if (!ledger_span_of(&v->supply->ledger, slab, &first) || first >= v->heap->geometry.pages) {
			if (v->supply->ledger.out[slab])
				verifier_fault(v, "I1: slab number %u is out and belongs to no span", slab);
		} else if (freed) {
			v->reply->freed_pending +=
				(uint64_t)__builtin_popcountll(freed & v->supply->ledger.out[slab]) *
				v->heap->t.spans[first].elemsize;
		}
	}
}

/* Pages that were given back are in no span. */
static void verify_gone(struct verifier *v)
{
	const struct pages *pages = &v->supply->pages;
	uint64_t n = 0;

	for (uint64_t w = 0; w < pages->chunks * LEDGER_HOLE_WORDS; w++) {
		uint64_t chunk = w / LEDGER_HOLE_WORDS, gone;

		if (!(pages->committed[chunk / 64] >> (chunk % 64) & 1))
			continue;
		gone = pages->gone[w];
		n += (uint64_t)__builtin_popcountll(gone);
		for (; gone; gone &= gone - 1) {
			uint64_t page = w * 64 + (uint64_t)__builtin_ctzll(gone);

			if (v->heap->t.page_span[page])
				verifier_fault(v, "I4: page %llu is in a span and given back to the system",
					       (unsigned long long)page);
		}
	}
	if (n != pages->gone_pages)
		verifier_fault(v, "I14: %llu pages are given back, counted as %llu", (unsigned long long)n,
			       (unsigned long long)pages->gone_pages);
}

static void verify_committed(struct verifier *v)
{
	const struct pages *pages = &v->supply->pages;
	uint64_t chunks = 0;

	for (uint64_t w = 0; w < (pages->chunks + 63) / 64; w++)
		chunks += (uint64_t)__builtin_popcountll(pages->committed[w]);
	if (chunks != pages->committed_chunks ||
	    pages_committed_bytes(pages) != v->heap->t.directory->stats.committed)
		verifier_fault(v, "I14: %llu chunks are committed, counted as %llu",
			       (unsigned long long)chunks, (unsigned long long)pages->committed_chunks);
}

static void verify_counters(struct verifier *v)
{
	const struct heapd_stats *stats = &v->heap->t.directory->stats;

	if (stats->out != v->reply->out)
		verifier_fault(v, "I14: %llu bytes are out, counted as %llu",
			       (unsigned long long)v->reply->out, (unsigned long long)stats->out);
	if (stats->given - stats->taken != stats->out)
		verifier_fault(v, "I14: %llu bytes are out; of those ever given, %llu are not taken back",
			       (unsigned long long)stats->out,
			       (unsigned long long)(stats->given - stats->taken));
	if (stats->large != v->large)
		verifier_fault(v, "I14: %llu bytes in large objects, counted as %llu",
			       (unsigned long long)v->large, (unsigned long long)stats->large);
	verify_committed(v);
	verify_gone(v);
	for (uint32_t c = 0; c < HEAPD_CLASS_MAX; c++) {
		const struct heapd_class_stats *class = &v->heap->t.class_stats[c];

		if (class->spans != v->classes[c].spans || class->pages != v->classes[c].pages ||
		    class->out_slots != v->classes[c].out)
			verifier_fault(
				v, "I14: class %u: %llu spans, %llu pages, %llu slots out; counted otherwise",
				c, (unsigned long long)v->classes[c].spans,
				(unsigned long long)v->classes[c].pages,
				(unsigned long long)v->classes[c].out);
	}
	uint64_t elsewhere = v->reply->in_rings + v->reply->in_currents + v->reply->in_spares +
			     v->reply->freed_pending;

	v->reply->allocated = v->reply->out > elsewhere ? v->reply->out - elsewhere : 0;
}

static int verify_locked(struct verifier *v)
{
	int r = places_gather(v);

	if (r < 0)
		return r;
	for (uint32_t class = 0; class < HEAPD_CLASS_MAX; ++class)
		if (v->supply->ledger.rings[class].tail)
			ring_note_taken(v->supply, class, clock_ns());
	places_verify_rings(v);
	verify_pages(v);
	verify_lists(v);
	places_verify_held(v);
	count_freed(v);
	verify_counters(v);
	return v->reply->faults ? 0 : reachable_verify(v);
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
	quarantine_look(heap); /* what it could not read */
	heap_unlock(heap);
	free(v->in_ring);
	free(v);
	return r;
}
