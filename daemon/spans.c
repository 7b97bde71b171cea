/* SPDX-License-Identifier: MIT */
/*
 * Owns the span table: the only code that makes, cuts or frees spans (I4).
 *
 * Each page is in at most one span: a span takes its pages from the page map, which gives a page out
 * once. Making: record, then ledger (owner of the slab numbers, nothing out), then page_span of every
 * page (release). Freeing: page_span cleared first, then the rest; nothing of the span is out then, so
 * no client that keeps the rules can be looking, and one that does not sees "no object lies there".
 *
 * A class is supplied from its fullest spans first, by quarters: so those with little in them run empty, and
 * their pages go back. From whichever came last, what is alive would stay thinly spread over all spans there ever were.
 */
#include "spans.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cells.h"
#include "hardened.h"
#include "heapd/count.h"
#include "heapd/probes.h"
#include "marks.h"

#define SPAN_GROW_SHIFT 5 /* a span may be as large as a 32nd of what its class has */
#define SPAN_BYTES_MAX  (1ul << 18)

int spans_init(struct spans *spans, struct heap *heap, struct ledger *ledger, struct pages *pages)
{
	uint64_t bytes = heap->geometry.pages * sizeof(*spans->states);
	int r;

	spans->heap = heap;
	spans->ledger = ledger;
	spans->pages = pages;
	spans->states =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (spans->states == MAP_FAILED)
		return -ENOMEM;
	for (uint32_t c = 0; c < HEAPD_CLASS_MAX; c++)
		for (uint32_t quarter = 0; quarter < SPAN_QUARTERS; quarter++)
			spans->ready[quarter][c] = SPAN_NONE;
	/* Clients copy HEAPD_BATCH_MAX masks at once: the last numbers are never given, so that they stay inside. */
	r = runmap_init(&spans->numbers, heap->geometry.slabs / HEAPD_SLAB_UNIT - 2);
	if (r < 0)
		munmap(spans->states, bytes);
	return r;
}

void spans_deinit(struct spans *spans)
{
	for (uint64_t page = 0; page < spans->pages->free.high; page++)
		free(spans->states[page]);
	munmap(spans->states, spans->heap->geometry.pages * sizeof(*spans->states));
	runmap_deinit(&spans->numbers);
}

void spans_list(struct spans *spans, uint32_t first)
{
	struct span_state *state = spans->states[first];
	const struct heapd_span *span = &spans->heap->t.spans[first];
	uint32_t *head;

	if (state->listed)
		return;
	state->quarter = spans_quarter(state->out, span->nslots);
	head = &spans->ready[state->quarter][span->class];
	state->listed = true;
	state->prev = SPAN_NONE;
	state->next = *head;
	if (*head != SPAN_NONE)
		spans->states[*head]->prev = first;
	*head = first;
}

void spans_unlist(struct spans *spans, uint32_t first)
{
	struct span_state *state = spans->states[first];

	if (!state->listed)
		return;
	state->listed = false;
	if (state->next != SPAN_NONE)
		spans->states[state->next]->prev = state->prev;
	if (state->prev != SPAN_NONE)
		spans->states[state->prev]->next = state->next;
	else
		spans->ready[state->quarter][spans->heap->t.spans[first].class] = state->next;
}

/* A class that has much gets larger spans: fewer records, and batches of neighbouring slabs. */
static uint64_t span_pages(const struct spans *spans, uint32_t class)
{
	uint64_t pages = spans->heap->t.classes[class].span_pages,
		 slot = spans->heap->t.classes[class].slot_size;
	uint64_t slab_bytes = slot * heapd_slab_slots(slot);
	uint64_t have = spans->heap->t.class_stats[class].pages >> SPAN_GROW_SHIFT;

	while (pages * 2 <= have && pages * 2 * HEAPD_PAGE_SIZE <= SPAN_BYTES_MAX &&
	       pages * 2 * HEAPD_PAGE_SIZE <= heapd_span_bytes_max(slot) &&
	       pages * 2 * HEAPD_PAGE_SIZE / slab_bytes < SPAN_SLABS_MAX)
		pages *= 2;
	return pages;
}

/* From here on, addresses in these pages lead to the span. Who reads `first` without the lock sees 0, and looks no further, until then. */
static void pages_publish(struct heapd_tables *t, uint32_t first, const struct heapd_span *record)
{
	for (uint32_t p = 0; p < record->npages; p++) {
		struct heapd_page *page = &t->pages[first + p];

		page->magic = record->magic ? heapd_page_magic(record->elemsize) : 0;
		page->slab0 = record->slab0;
		page->class = record->class;
		page->words = record->magic ? (uint16_t)(record->elemsize / 8) : 0;
		HEAPD_STORE_RELEASE(&page->first, first + 1);
		HEAPD_STORE_RELEASE(&t->page_span[first + p], first + 1);
	}
}

static void pages_withdraw(struct heapd_tables *t, uint32_t first, uint32_t n)
{
	for (uint32_t p = 0; p < n; p++) {
		HEAPD_STORE_RELEASE(&t->pages[first + p].first, 0);
		HEAPD_STORE_RELEASE(&t->page_span[first + p], 0);
	}
}

/* Slab numbers, state and page_span for a span whose record is filled but for slab0. */
static int span_publish(struct spans *spans, uint32_t first, struct heapd_span record, bool zeroed)
{
	struct heapd_tables *t = &spans->heap->t;
	uint32_t slabs = heapd_span_slabs(&record);
	uint64_t units = (slabs + HEAPD_SLAB_UNIT - 1) / HEAPD_SLAB_UNIT, at;
	struct span_state *state = calloc(1, sizeof(*state));

	if (!state || runmap_take(&spans->numbers, units, 1, &at) < 0) {
		free(state);
		return -ENOMEM;
	}
	if (hardened_is_on(spans->heap))
		hardened_cut(spans->heap, first, &record);
	if (!zeroed)
		cells_cut(spans->heap, first, &record);
	state->zeroed = zeroed && !hardened_is_on(spans->heap) && record.elemsize >= HEAPD_CLEAN_SLOT_MIN;
	state->next = state->prev = SPAN_NONE;
	spans->states[first] = state;
	HEAPD_STORE_RELEASE(&spans->ledger->head->numbers_high, spans->numbers.high);
	record.slab0 = (uint32_t)(at * HEAPD_SLAB_UNIT);
	t->spans[first] = record;
	for (uint64_t i = 0; i < units * HEAPD_SLAB_UNIT; i++) {
		spans->ledger->out[record.slab0 + i] = 0;
		HEAPD_WRITE_ONCE(t->supplied[record.slab0 + i], 0);
		/* A late double free of what lay here before must not free what will. */
		HEAPD_WRITE_ONCE(t->freed[record.slab0 + i], 0);
		HEAPD_WRITE_ONCE(t->owner[record.slab0 + i], 0);
		HEAPD_WRITE_ONCE(t->taker[record.slab0 + i], 0);
		HEAPD_WRITE_ONCE(t->lent[record.slab0 + i], UINT64_MAX);
	}
	/* The record and its words before what names it, for whoever comes after us. */
	for (uint64_t u = 0; u < units; u++)
		HEAPD_STORE_RELEASE(&spans->ledger->owner[at + u], first + 1);
	/* Before any address leads here: the marker may be at work. */
	marks_cut(spans->heap, record.slab0, units * HEAPD_SLAB_UNIT);
	pages_publish(t, first, &record);
	HEAPD_COUNT(t->class_stats[record.class].spans, 1u);
	HEAPD_COUNT(t->class_stats[record.class].pages, record.npages);
	HEAPD_COUNT(t->directory->stats.spans_cut, 1u);
	HEAPD_PROBE(span__cut, spans->heap->name, record.class, record.npages, record.elemsize);
	return 0;
}

static int cut(struct spans *spans, uint32_t class, uint64_t npages, uint32_t *first)
{
	const struct heapd_class *c = &spans->heap->t.classes[class];
	uint64_t at;
	bool zeroed;
	int r;

	r = pages_take(spans->pages, npages, 1, &at, &zeroed);
	if (r < 0)
		return r;
	struct heapd_span record = {
		.elemsize = c->slot_size,
		.magic = c->magic,
		.npages = (uint32_t)npages,
		.nslots = (uint32_t)((npages << HEAPD_PAGE_SHIFT) / c->slot_size),
		.class = (uint16_t) class,
		.slab_slots = c->slab_slots,
	};
	r = span_publish(spans, (uint32_t)at, record, zeroed);
	if (r < 0) {
		pages_give(spans->pages, at, npages);
		return r;
	}
	for (uint32_t k = 0; k < heapd_span_slabs(&record); k++)
		bits_set(spans->states[at]->ready, k);
	spans_list(spans, (uint32_t)at);
	*first = (uint32_t)at;
	return 0;
}

int spans_cut(struct spans *spans, uint32_t class, uint32_t *first)
{
	uint64_t least = spans->heap->t.classes[class].span_pages, npages = span_pages(spans, class);
	int r;

	r = cut(spans, class, npages, first);
	if (r < 0 && npages > least) /* neighbouring pages, or slab numbers, are harder to find for many */
		r = cut(spans, class, least, first);
	return r;
}

int spans_cut_large(struct spans *spans, uint32_t class, uint64_t bytes, uint64_t align, uint32_t *first,
		    bool *zeroed)
{
	uint64_t npages = (bytes + HEAPD_PAGE_SIZE - 1) >> HEAPD_PAGE_SHIFT, at;
	uint64_t align_pages = align > HEAPD_PAGE_SIZE ? align >> HEAPD_PAGE_SHIFT : 1;
	int r;

	if (!npages || npages > spans->heap->geometry.pages)
		return -ENOMEM;
	r = pages_take(spans->pages, npages, align_pages, &at, zeroed);
	if (r < 0)
		return r;
	struct heapd_span record = {
		.elemsize = npages << HEAPD_PAGE_SHIFT,
		.npages = (uint32_t)npages,
		.nslots = 1,
		.class = (uint16_t) class,
		.slab_slots = 1,
	};
	r = span_publish(spans, (uint32_t)at, record, *zeroed);
	if (r < 0) {
		pages_give(spans->pages, at, npages);
		return r;
	}
	*zeroed &= !hardened_is_on(spans->heap);
	spans_slots_out(spans, (uint32_t)at, 0, 1);
	HEAPD_WRITE_ONCE(spans->heap->t.lent[spans->heap->t.spans[at].slab0], 0);
	*first = (uint32_t)at;
	return 0;
}

static uint64_t slab_mask(const struct spans *spans, uint32_t first, uint32_t k)
{
	return heapd_slab_valid(&spans->heap->t.spans[first], k);
}

/* A slab is ready if it lies in no ring and has a free slot. */
static void slab_note_ready(struct spans *spans, uint32_t first, uint32_t k)
{
	struct span_state *state = spans->states[first];
	uint64_t out = spans->ledger->out[spans->heap->t.spans[first].slab0 + k];

	if (!state->lost && !bits_get(state->ringed, k) && (~out & slab_mask(spans, first, k)))
		bits_set(state->ready, k);
	else
		bits_clear(state->ready, k);
}

/* A span with a ready slab is listed. */
static void span_update(struct spans *spans, uint32_t first)
{
	const struct span_state *state = spans->states[first];
	uint64_t any = 0;

	for (unsigned i = 0; i < SPAN_SLABS_MAX / 64; i++)
		any |= state->ready[i];
	if (!any || spans_quarter(state->out, spans->heap->t.spans[first].nslots) != state->quarter)
		spans_unlist(spans, first);
	if (any)
		spans_list(spans, first);
}

static void slab_update(struct spans *spans, uint32_t first, uint32_t k)
{
	slab_note_ready(spans, first, k);
	span_update(spans, first);
}

void spans_lose(struct spans *spans, uint32_t first)
{
	spans->states[first]->lost = true;
	for (uint32_t k = 0; k < heapd_span_slabs(&spans->heap->t.spans[first]); k++)
		slab_update(spans, first, k);
}

static void count_out(struct spans *spans, const struct heapd_span *span, int64_t slots)
{
	struct heapd_stats *stats = &spans->heap->t.directory->stats;
	struct heapd_class_stats *class = &spans->heap->t.class_stats[span->class];

	HEAPD_COUNT(stats->out, (uint64_t)slots * span->elemsize);
	if (slots > 0)
		HEAPD_COUNT(stats->given, (uint64_t)slots * span->elemsize);
	else
		HEAPD_COUNT(stats->taken, (uint64_t)-slots * span->elemsize);
	HEAPD_WRITE_ONCE(class->out_slots, class->out_slots + (uint64_t)slots);
	if (!span->magic)
		HEAPD_COUNT(stats->large, (uint64_t)slots * span->elemsize);
}

uint64_t spans_slots_out(struct spans *spans, uint32_t first, uint32_t k, uint64_t mask)
{
	const struct heapd_span *span = &spans->heap->t.spans[first];
	uint64_t *out = &spans->ledger->out[span->slab0 + k],
		 change = mask & ~*out & slab_mask(spans, first, k);

	if (!change)
		return 0;
	spans->states[first]->busy += *out == 0;
	spans->states[first]->out += (uint32_t)__builtin_popcountll(change);
	heapd_past_begin(&spans->heap->t.past[span->slab0 + k], change);
	*out |= change;
	count_out(spans, span, __builtin_popcountll(change));
	slab_update(spans, first, k);
	return change;
}

/* Of the span's counts, busy alone. */
static uint64_t slab_free(struct spans *spans, uint32_t first, uint32_t k, uint64_t mask)
{
	uint32_t slab = spans->heap->t.spans[first].slab0 + k;
	uint64_t *out = &spans->ledger->out[slab], change = mask & *out;

	if (!change)
		return 0;
	__atomic_fetch_or(&spans->heap->t.lent[slab], change, __ATOMIC_RELAXED);
	*out &= ~change;
	marks_back(spans->heap, slab, change);
	spans->states[first]->busy -= *out == 0;
	slab_note_ready(spans, first, k);
	return change;
}

static void span_count_free(struct spans *spans, uint32_t first, uint64_t n)
{
	if (!n)
		return;
	spans->states[first]->out -= (uint32_t)n;
	count_out(spans, &spans->heap->t.spans[first], -(int64_t)n);
	span_update(spans, first);
}

uint64_t spans_slots_free(struct spans *spans, uint32_t first, uint32_t k, uint64_t mask)
{
	uint64_t change = slab_free(spans, first, k, mask);

	span_count_free(spans, first, heapd_count_bits(change));
	return change;
}

uint64_t spans_slots_free_each(struct spans *spans, uint32_t first, const uint64_t *masks)
{
	uint32_t slabs = heapd_span_slabs(&spans->heap->t.spans[first]);
	uint64_t n = 0;

	for (uint32_t k = 0; k < slabs; k++)
		n += heapd_count_bits(slab_free(spans, first, k, masks[k]));
	span_count_free(spans, first, n);
	return n;
}

void spans_slab_ringed(struct spans *spans, uint32_t first, uint32_t k, bool ringed)
{
	if (ringed)
		bits_set(spans->states[first]->ringed, k);
	else
		bits_clear(spans->states[first]->ringed, k);
	slab_update(spans, first, k);
}

void spans_free(struct spans *spans, uint32_t first)
{
	struct heapd_tables *t = &spans->heap->t;
	struct heapd_span record = t->spans[first];
	uint64_t units = (heapd_span_slabs(&record) + HEAPD_SLAB_UNIT - 1) / HEAPD_SLAB_UNIT;

	spans_unlist(spans, first);
	pages_withdraw(t, first, record.npages);
	for (uint64_t u = 0; u < units; u++)
		HEAPD_STORE_RELEASE(&spans->ledger->owner[record.slab0 / HEAPD_SLAB_UNIT + u], 0);
	free(spans->states[first]);
	spans->states[first] = NULL;
	HEAPD_WRITE_ONCE(t->class_stats[record.class].spans, t->class_stats[record.class].spans - 1u);
	HEAPD_WRITE_ONCE(t->class_stats[record.class].pages,
			 t->class_stats[record.class].pages - record.npages);
	HEAPD_COUNT(t->directory->stats.spans_freed, 1u);
	HEAPD_PROBE(span__freed, spans->heap->name, record.class, record.npages, record.elemsize);
	runmap_give(&spans->numbers, record.slab0 / HEAPD_SLAB_UNIT, units);
	pages_give(spans->pages, first, record.npages);
}
