/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; makes again what the daemon derives, and mends what its predecessor left half done. It died at some store.
 *
 *   pages    What is committed and what is dirty stands in the ledger. Pages that were being given back are taken for gone; if
 *            a process of the last daemon's may still punch them, they are left out until that has ended (punch.h).
 *   spans    A span is there if its record, its numbers' owner and each of its pages say so. One that is there in part was
 *            being made, or being freed: nothing of it was out, and no address leads to an object of it. It is freed.
 *   giving   The note in the ledger says what was on its way into a ring. Before the private tail moved nobody can have
 *            it: it comes back. Afterwards it is in the ring, and the shared tail is made to say so.
 *   back     The note of what was on its way out of a ring, and who moved the head: we, and it comes back; or a client.
 *   rings    The heads have moved since: clients took what lay there.
 *   freed    A freed bit of a slot that is free was harvested, and not cleared yet. The way to the others may have been lost.
 *   marks    What was said of a slot's last object goes after its slot is free: it may be left.
 *
 * Right because only the daemon writes what this believes (directory and ledger), and because what clients do meanwhile is
 * what they do at any time: they move heads forward and set freed bits.
 */
#include "rebuild.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "clock.h"
#include "idle.h"
#include "marks.h"
#include "supply.h"

/* What the sums begin with. */
static void counts_clear(struct heap *heap)
{
	struct heapd_stats *stats = &heap->t.directory->stats;

	stats->out = stats->large = stats->in_rings = stats->in_spans = stats->stranded = stats->sessions = 0;
	for (uint32_t c = 0; c < HEAPD_CLASS_MAX; c++) {
		struct heapd_class_stats *class = &heap->t.class_stats[c];

		/* To write is to make memory of what nobody used. */
		if (class->spans || class->pages || class->out_slots)
			class->spans = class->pages = class->out_slots = 0;
	}
}

/* Giving ------------------------------------------------------------------------------------------------------ */

/* These slots of the entry's slabs are free again, if they are not yet. A span that has been given back has none. */
static void entry_undo(struct supply *supply, uint64_t entry, const uint64_t masks[HEAPD_BATCH_MAX])
{
	struct heapd_tables *t = &supply->heap->t;
	uint32_t first = heapd_entry_page(entry), owner;

	for (uint32_t present = heapd_entry_present(entry); present; present &= present - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(present);
		uint32_t slab = t->spans[first].slab0 + heapd_entry_slab(entry) + i;

		if (!ledger_span_of(&supply->ledger, slab, &owner) || owner != first)
			continue;
		__atomic_fetch_or(&t->lent[slab], masks[i], __ATOMIC_RELAXED);
		HEAPD_STORE_RELEASE(&t->out[slab], t->out[slab] & ~masks[i]);
	}
}

static void giving_settle(struct supply *supply)
{
	struct ledger_giving *giving = &supply->ledger.head->giving;
	uint32_t class = (uint32_t)giving->class - 1;

	if (!giving->class)
		return;
	if (supply->ledger.rings[class].tail == giving->tail)
		entry_undo(supply, giving->entry, giving->masks);
	else
		HEAPD_STORE_RELEASE(&supply->heap->t.rings[class].tail, supply->ledger.rings[class].tail);
	HEAPD_STORE_RELEASE(&giving->class, 0);
}

/* Back: if the head's second word has moved, the swap was ours, and the entry with it; clients may have taken more since. */
static void taking_settle(struct supply *supply)
{
	struct ledger_taking *taking = &supply->ledger.head->taking;
	uint32_t class = (uint32_t)taking->class - 1;
	struct ledger_ring *ring = &supply->ledger.rings[class];

	if (!taking->class)
		return;
	if (HEAPD_READ_ONCE(supply->heap->t.heads[class].withdrawn) != taking->withdrawn) {
		if (ring->head == taking->head)
			ring->head++;
		entry_undo(supply, taking->entry, taking->masks);
	}
	HEAPD_STORE_RELEASE(&taking->class, 0);
}

/* Pages ------------------------------------------------------------------------------------------------------- */

static bool is_committed(const struct pages *pages, uint64_t chunk)
{
	return pages->committed[chunk / 64] >> (chunk % 64) & 1;
}

/* All of a chunk, or some of its pages. The daemon may have died when it had said so already. */
static void hole_forget(struct pages *pages, const struct ledger_hole *hole)
{
	uint64_t chunk = hole->chunk - 1, *gone = &pages->gone[chunk * LEDGER_HOLE_WORDS], all = UINT64_MAX;

	for (unsigned w = 0; w < LEDGER_HOLE_WORDS; w++)
		all &= hole->pages[w];
	for (unsigned w = 0; w < LEDGER_HOLE_WORDS; w++)
		gone[w] = all == UINT64_MAX ? 0 : gone[w] | hole->pages[w];
	if (all == UINT64_MAX)
		pages->committed[chunk / 64] &= ~(1ull << (chunk % 64));
	pages->huge[chunk / 64] &= ~(1ull << (chunk % 64));
}

/* What was on its way to the system. */
static void hole_settle(struct pages *pages)
{
	struct ledger_hole *hole = &pages->head->hole;

	if (!hole->chunk)
		return;
	if (pages->heap->punch.late) {
		pages_idle_keep(pages);
		return;
	}
	hole_forget(pages, hole);
	HEAPD_STORE_RELEASE(&hole->chunk, 0);
}

static uint64_t gone_count(const struct pages *pages, uint64_t chunk)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < LEDGER_HOLE_WORDS && is_committed(pages, chunk); w++)
		n += (uint64_t)__builtin_popcountll(pages->gone[chunk * LEDGER_HOLE_WORDS + w]);
	return n;
}

static void pages_count(struct pages *pages)
{
	struct heapd_stats *stats = &pages->heap->t.directory->stats;

	hole_settle(pages);
	for (uint64_t chunk = 0; chunk < pages->chunks; chunk++)
		pages->gone_pages += gone_count(pages, chunk);
	for (uint64_t w = 0; w < heapd_align_up(pages->chunks, 64) / 64; w++) {
		pages->committed_chunks += (uint64_t)__builtin_popcountll(pages->committed[w]);
		pages->huge_chunks += (uint64_t)__builtin_popcountll(pages->huge[w]);
	}
	account_force(&pages->heap->part, pages_committed_bytes(pages));
	HEAPD_WRITE_ONCE(stats->committed, pages_committed_bytes(pages));
	HEAPD_WRITE_ONCE(stats->committed_huge, pages->huge_chunks << HEAPD_CHUNK_SHIFT);
}

/* Spans ------------------------------------------------------------------------------------------------------- */

static uint64_t units_of(const struct heapd_span *span)
{
	return (heapd_span_slabs(span) + HEAPD_SLAB_UNIT - 1) / HEAPD_SLAB_UNIT;
}

static bool span_is_whole(const struct supply *supply, uint64_t first, uint64_t unit)
{
	const struct heap *heap = supply->heap;
	const struct ledger_head *head = supply->ledger.head;
	const struct heapd_span *span = &heap->t.spans[first];
	uint64_t units;

	if (first >= head->pages_high || !span->npages || span->npages > head->pages_high - first ||
	    !span->slab_slots || !span->nslots || span->slab0 != unit * HEAPD_SLAB_UNIT)
		return false;
	units = units_of(span);
	if (units > head->numbers_high - unit || heapd_span_slabs(span) > SPAN_SLABS_MAX)
		return false;
	for (uint64_t u = unit; u < unit + units; u++)
		if (supply->ledger.owner[u] != first + 1)
			return false;
	for (uint64_t p = first; p < first + span->npages; p++)
		if (heap->t.page_span[p] != first + 1 || heap->t.pages[p].first != first + 1)
			return false;
	return true;
}

static void span_count(struct supply *supply, uint32_t first, struct span_state *state)
{
	const struct heapd_span *span = &supply->heap->t.spans[first];
	struct heapd_class_stats *class = &supply->heap->t.class_stats[span->class];
	struct heapd_stats *stats = &supply->heap->t.directory->stats;
	uint64_t slots = 0;

	for (uint32_t k = 0; k < heapd_span_slabs(span); k++) {
		uint64_t out = supply->ledger.out[span->slab0 + k];

		state->busy += out != 0;
		state->out += (uint32_t)__builtin_popcountll(out);
		slots += (uint64_t)__builtin_popcountll(out);
		if (heapd_slab_valid(span, k) & ~out)
			bits_set(state->ready, k);
	}
	stats->out += slots * span->elemsize;
	stats->large += span->magic ? 0 : slots * span->elemsize;
	class->out_slots += slots;
	class->spans++;
	class->pages += span->npages;
}

static bool span_has_ready(const struct span_state *state)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < SPAN_SLABS_MAX / 64; i++)
		any |= state->ready[i];
	return any;
}

static int span_restore(struct supply *supply, uint32_t first, uint64_t unit)
{
	const struct heapd_span *span = &supply->heap->t.spans[first];
	struct span_state *state = calloc(1, sizeof(*state));

	if (!state)
		return -ENOMEM;
	if (runmap_claim(&supply->pages.free, first, span->npages) < 0 ||
	    runmap_claim(&supply->spans.numbers, unit, units_of(span)) < 0) {
		free(state);
		log_err(supply->heap->log, "heap '%s': two spans lie at page %u", supply->heap->name, first);
		return -EUCLEAN;
	}
	state->next = state->prev = SPAN_NONE;
	supply->spans.states[first] = state;
	supply->pages.in_spans += span->npages;
	span_count(supply, first, state);
	if (span_has_ready(state))
		spans_list(&supply->spans, first);
	/* A large object that was being made. */
	if (!span->magic && !state->busy)
		spans_free(&supply->spans, first);
	return 0;
}

/* A unit that no whole span has is free. */
static int numbers_restore(struct supply *supply)
{
	uint64_t high = supply->ledger.head->numbers_high;

	for (uint64_t unit = 0; unit < high;) {
		uint32_t owner = supply->ledger.owner[unit];
		int r;

		beat_step(&supply->heap->walk_beat, unit);
		if (!owner || !span_is_whole(supply, owner - 1, unit)) {
			if (owner)
				HEAPD_STORE_RELEASE(&supply->ledger.owner[unit], 0);
			unit++;
			continue;
		}
		uint64_t units = units_of(&supply->heap->t.spans[owner - 1]);
		r = span_restore(supply, owner - 1, unit);
		if (r < 0)
			return r;
		unit += units;
	}
	return 0;
}

/* Pages that lead to a span that is not there lead nowhere. */
static void pages_clear(struct supply *supply)
{
	struct heapd_tables *t = &supply->heap->t;

	for (uint64_t p = 0; p < supply->ledger.head->pages_high; p++) {
		uint32_t span = t->page_span[p], first = t->pages[p].first;

		beat_step(&supply->heap->walk_beat, p);
		if (!runmap_is_free(&supply->pages.free, p))
			continue;
		if (first)
			HEAPD_STORE_RELEASE(&t->pages[p].first, 0);
		if (span)
			HEAPD_STORE_RELEASE(&t->page_span[p], 0);
	}
}

/* Rings ------------------------------------------------------------------------------------------------------- */

static uint64_t entry_restore(struct supply *supply, uint64_t entry)
{
	uint32_t first = heapd_entry_page(entry);
	const struct heapd_span *span = &supply->heap->t.spans[first];
	uint64_t slots = 0;

	if (first >= supply->heap->geometry.pages || !supply->spans.states[first]) {
		HEAPD_COUNT(supply->heap->t.directory->stats.corrupt, 1u);
		return 0;
	}
	for (uint32_t present = heapd_entry_present(entry); present; present &= present - 1) {
		uint32_t k = heapd_entry_slab(entry) + (uint32_t)__builtin_ctz(present);

		slots += (uint64_t)__builtin_popcountll(supply->heap->t.supplied[span->slab0 + k]);
		spans_slab_ringed(&supply->spans, first, k, true);
	}
	return slots * span->elemsize;
}

/* As if nothing had been taken since the private head; then what was taken is noted as ever. */
static void ring_restore(struct supply *supply, uint32_t class)
{
	struct ledger_ring *ring = &supply->ledger.rings[class];
	struct supply_class *state = &supply->classes[class];

	for (uint64_t at = ring->head; at < ring->tail; at++)
		state->bytes += entry_restore(supply, ring->entries[at % HEAPD_RING_SLOTS]);
	supply->ring_bytes += state->bytes;
	supply->active[class / 64] |= 1ull << (class % 64);
	ring_note_taken(supply, class, clock_ns());
	state->target = state->bytes;
}

static void rings_restore(struct supply *supply)
{
	const struct heapd_directory *d = supply->heap->t.directory;

	for (uint32_t class = 0; class < d->nclasses; class ++)
		if (supply->ledger.rings[class].tail)
			ring_restore(supply, class);
	HEAPD_WRITE_ONCE(supply->heap->t.directory->stats.in_rings, supply->ring_bytes);
}

/* Freed ------------------------------------------------------------------------------------------------------- */

static void freed_look(struct supply *supply, uint32_t slab)
{
	struct heapd_tables *t = &supply->heap->t;
	uint64_t freed = HEAPD_READ_ONCE(t->freed[slab]), done = freed & ~t->out[slab];

	if (done)
		__atomic_fetch_and(&t->freed[slab], ~done, __ATOMIC_RELAXED);
	if (freed & ~done)
		__atomic_fetch_or(&t->freed_dirty[slab / 64], 1ull << (slab % 64), __ATOMIC_RELAXED);
}

static void freed_restore(struct supply *supply)
{
	uint64_t n = supply->ledger.head->numbers_high * HEAPD_SLAB_UNIT;

	for (uint64_t slab = 0; slab < n; slab++) {
		beat_step(&supply->heap->walk_beat, slab);
		if (supply->ledger.owner[slab / HEAPD_SLAB_UNIT])
			freed_look(supply, (uint32_t)slab);
	}
}

/* ------------------------------------------------------------------------------------------------------------- */

/* What the dead daemon had not counted any more, it has given or taken: neither ever becomes less. */
static void totals_settle(struct heapd_stats *stats)
{
	if (stats->given - stats->taken < stats->out)
		HEAPD_WRITE_ONCE(stats->given, stats->taken + stats->out);
	else
		HEAPD_WRITE_ONCE(stats->taken, stats->given - stats->out);
}

int rebuild_run(struct heap *heap)
{
	struct supply *supply = heap->supply;
	int r;

	counts_clear(heap);
	giving_settle(supply);
	taking_settle(supply);
	pages_count(&supply->pages);
	r = numbers_restore(supply);
	if (r < 0)
		return r;
	pages_clear(supply);
	HEAPD_WRITE_ONCE(heap->t.directory->stats.in_spans, supply->pages.in_spans << HEAPD_PAGE_SHIFT);
	rings_restore(supply);
	freed_restore(supply);
	marks_restore(heap, &supply->ledger);
	totals_settle(&heap->t.directory->stats);
	return 0;
}
