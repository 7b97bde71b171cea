/* SPDX-License-Identifier: MIT */
/*
 * What comes back: slots freed explicitly (freed words) and batches handed back by threads.
 *
 * A freed bit is judged after it was read from the word (acquire): only then are ring heads, spares
 * and current slabs looked at. In that order, a slot that is seen free there was free before it was
 * freed: a double free, reported and left as it is. Looked at first, a slot that was popped and freed in
 * between would be taken for one.
 *   - in the ledger (not out), in a ring, in a spare or in a current slab: free already, a double free;
 *   - in a slab that is being installed: it may have been popped and freed already, or not be installed
 *     yet; the bit stays and is judged again in a later pass;
 *   - else it was allocated, and is free now.
 * A slot between a ring or a current slab and the spare of whoever took it cannot be seen, and one being
 * installed cannot be told from one that was: a double free of such a slot in that moment is not recognised.
 *
 * While a cycle is under way nothing that was freed is taken back: a thread that has been scanned may have read
 * what the freed object pointed to, and the marker has yet to see it. With Free=checked only the sweep takes back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cells.h"
#include "clock.h"
#include "collection.h"
#include "events.h"
#include "hardened.h"
#include "heapd/count.h"
#include "heapd/mutant.h"
#include "heapd/probes.h"
#include "heapd/step.h"
#include "poison.h"
#include "supply.h"

#define PASS_WORDS  65536u   /* freed words judged at once */
#define PIECE_SLABS 16384u   /* looked at under one taking of the lock, and ... */
#define PIECE_NS    1000000u /* ... time for what is handed back, the last client's aside */

static bool harvest_is_prompt(const struct heap *heap)
{
	return heap->t.directory->cycle.free_mode == HEAPD_FREE_PROMPT;
}

/* The bits are still there: only the way to them has to be shown again. */
static void freed_look_again(struct supply *supply, uint32_t slab)
{
	__atomic_fetch_or(&supply->heap->t.freed_dirty[slab / 64], 1ull << (slab % 64), __ATOMIC_RELAXED);
}

static void freed_clear(struct supply *supply, uint32_t slab, uint64_t bits)
{
	__atomic_fetch_and(&supply->heap->t.freed[slab], ~bits, __ATOMIC_RELEASE);
}

static void count_harvested(struct supply *supply, uint32_t first, uint64_t n)
{
	uint32_t class = supply->heap->t.spans[first].class;

	HEAPD_COUNT(supply->heap->t.directory->stats.harvested_slots, n);
	HEAPD_COUNT(supply->heap->t.class_stats[class].harvested_slots, n);
}

uint64_t harvest_release(struct supply *supply, uint32_t first, uint32_t k, uint64_t mask)
{
	const struct heapd_span *span = &supply->heap->t.spans[first];
	uint64_t freed, n;

	if (hardened_is_on(supply->heap))
		hardened_close(supply->heap, first, k, mask & supply->ledger.out[span->slab0 + k]);
	cells_free(supply->heap, first, k, mask & supply->ledger.out[span->slab0 + k]);
	freed = spans_slots_free(&supply->spans, first, k, mask);
	n = heapd_count_bits(freed);
	if (freed && poison_is_on(supply->heap))
		poison_slots(&supply->spans, first, k, freed);
	count_harvested(supply, first, n);
	if (freed && !collection_is_active(supply->heap))
		harvest_unused_span(supply, first);
	return n;
}

/* Whether something is written to each slot that becomes free. */
static bool is_written(const struct heap *heap, uint32_t first)
{
	return hardened_is_on(heap) || poison_is_on(heap) || heap->t.spans[first].class == HEAPD_CLASS_WEAK;
}

uint64_t harvest_release_swept(struct supply *supply, uint32_t first, const uint64_t *masks)
{
	uint32_t slabs = heapd_span_slabs(&supply->heap->t.spans[first]);
	uint64_t n = 0;

	if (!is_written(supply->heap, first)) {
		n = spans_slots_free_each(&supply->spans, first, masks);
		count_harvested(supply, first, n);
		return n;
	}
	for (uint32_t k = 0; k < slabs; k++)
		n += harvest_release(supply, first, k, masks[k]);
	return n;
}

void harvest_unused_span(struct supply *supply, uint32_t first)
{
	uint32_t class = supply->heap->t.spans[first].class;

	if (!spans_is_unused(&supply->spans, first))
		return;
	/* The last span of a class in use stays: its next refill needs no cutting. */
	if (supply->classes[class].target && spans_ready(&supply->spans, class) == first &&
	    span_state_of(&supply->spans, first)->next == SPAN_NONE)
		return;
	spans_free(&supply->spans, first);
}

void harvest_unused_spans(struct supply *supply, uint32_t class)
{
	uint32_t next;

	if (collection_is_active(supply->heap))
		return;
	/* They are among the emptiest. */
	for (uint32_t at = supply->spans.ready[SPAN_QUARTERS - 1][class]; at != SPAN_NONE; at = next) {
		next = span_state_of(&supply->spans, at)->next;
		if (spans_is_unused(&supply->spans, at))
			spans_free(&supply->spans, at);
	}
}

static void report_double(struct supply *supply, uint32_t first, uint32_t k, uint64_t bits)
{
	struct heap *heap = supply->heap;
	const struct heapd_span *span = &heap->t.spans[first];
	uint64_t address = heap->t.base + ((uint64_t)first << HEAPD_PAGE_SHIFT) + heapd_slab_offset(span, k) +
			   (uint64_t)__builtin_ctzll(bits) * span->elemsize;
	uint64_t n = (uint64_t)__builtin_popcountll(bits);
	struct journal_event event = {
		.id = EVENT_DOUBLE_FREE, .heap = heap->name, .address = address, .has_count = true, .count = n
	};

	HEAPD_COUNT(heap->t.directory->stats.double_frees, n);
	HEAPD_PROBE(double__free__late, heap->name, address, n, span->elemsize);
	log_event(
		heap->log, &supply->double_free_limit, LOG_WARNING, &event,
		"heap %s: double free of %llu object(s) of %llu bytes, the first at 0x%llx; nothing was harmed",
		heap->name, (unsigned long long)n, (unsigned long long)span->elemsize,
		(unsigned long long)address);
	events_fault(heap);
}

static void judge(struct supply *supply, uint32_t slab, uint64_t bits)
{
	struct heap *heap = supply->heap;
	const struct held_slab *held = held_find(&supply->held, slab);
	uint64_t twice, later = held ? held->moving & ~held->current & ~held->spare : 0;
	uint64_t seen = bits;
	uint32_t first, k;

	if (!ledger_span_of(&supply->ledger, slab, &first)) {
		freed_clear(supply, slab, bits);
		return;
	}
	const struct heapd_span *span = &heap->t.spans[first];
	k = slab - span->slab0;
	/* Not what a client took back meanwhile: it installed a slab whose slot had been freed twice. */
	bits &= heapd_slab_valid(span, k) & HEAPD_LOAD_ACQUIRE(&heap->t.freed[slab]);
	twice = bits & ~supply->ledger.out[slab];
	if (bits_get(span_state_of(&supply->spans, first)->ringed, k))
		twice |= bits & heap->t.supplied[slab];
	if (held)
		twice |= bits & (held->current | held->spare);
	if (twice)
		report_double(supply, first, k, twice);
	later &= bits & ~twice;
	if (later)
		freed_look_again(supply, slab);
	harvest_release(supply, first, k, bits & ~twice & ~later);
	/* Not before the ledger has them: until then a second free has to see that they are free. */
	freed_clear(supply, slab, seen & ~later);
}

static void judge_all(struct supply *supply)
{
	uint32_t n = supply->freed_count;

	supply->freed_count = 0;
	if (!n)
		return;
	ring_note_all(supply,
		      clock_ns()); /* what is in a ring is exact from here on, before anything is judged */
	if (held_gather(&supply->held, supply->heap) < 0) {
		for (uint32_t i = 0; i < n; i++)
			freed_look_again(supply, supply->freed[i].slab);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		judge(supply, supply->freed[i].slab, supply->freed[i].bits);
}

static bool freed_room(struct supply *supply)
{
	uint32_t room = supply->freed_room ? supply->freed_room * 2 : 1024;
	struct freed_word *grown;

	if (supply->freed_count < supply->freed_room)
		return true;
	if (supply->freed_room >= PASS_WORDS)
		return false;
	grown = reallocarray(supply->freed, room, sizeof(*grown));
	if (!grown)
		return false;
	supply->freed = grown;
	supply->freed_room = room;
	return true;
}

/* Takes one slab's freed word out. False if there is no room: judge what was taken out first. */
static bool take_out(struct supply *supply, uint32_t slab)
{
	if (!freed_room(supply))
		return false;
	uint64_t bits = HEAPD_LOAD_ACQUIRE(&supply->heap->t.freed[slab]);

	if (bits)
		supply->freed[supply->freed_count++] = (struct freed_word){ .slab = slab, .bits = bits };
	return true;
}

/* 64 slabs: how many of them were looked at. */
static uint64_t harvest_slabs(struct supply *supply, uint64_t w, bool whole)
{
	uint64_t *dirty = &supply->heap->t.freed_dirty[w], set = HEAPD_READ_ONCE(*dirty), looked = 0;

	if (set)
		set = __atomic_exchange_n(dirty, 0, __ATOMIC_ACQUIRE);
	if (whole)
		set = UINT64_MAX;
	for (; set; set &= set - 1) {
		uint32_t slab = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(set);

		if (slab >= supply->heap->geometry.slabs ||
		    (whole && !HEAPD_READ_ONCE(supply->heap->t.freed[slab])))
			continue;
		looked++;
		if (take_out(supply, slab))
			continue;
		judge_all(supply);
		if (!take_out(supply, slab))
			freed_look_again(supply, slab);
	}
	return looked;
}

void harvest_freed(struct supply *supply, bool whole)
{
	uint64_t words = (supply->spans.numbers.high * HEAPD_SLAB_UNIT + 63) / 64,
		 begin = whole ? 0 : supply->harvest_word, looked = 0, n;

	if ((collection_is_active(supply->heap) && !MUTANT(harvest_in_cycle)) ||
	    !harvest_is_prompt(supply->heap))
		return;
	for (n = 0; n < words && (whole || looked < PIECE_SLABS); n++)
		looked += harvest_slabs(supply, (begin + n) % words, whole);
	if (!whole && words)
		supply->harvest_word = (begin + n) % words;
	judge_all(supply);
}

/*
 * Slots of slab k that lie in a ring: not the client's to return. Others of the same slab may be: they
 * were taken by a client before those in the ring were freed.
 */
uint64_t harvest_ringed(const struct supply *supply, uint32_t first, uint32_t k)
{
	if (!bits_get(span_state_of(&supply->spans, first)->ringed, k))
		return 0;
	return supply->heap->t.supplied[supply->heap->t.spans[first].slab0 + k];
}

static void release_batch(struct supply *supply, const struct heapd_batch *batch)
{
	uint32_t first = heapd_entry_page(batch->entry);

	/* Who hands back took it from the ring before: the head says so by now, our copy perhaps not yet. */
	ring_note_taken(supply, (uint32_t)batch->class, clock_ns());
	for (uint32_t present = heapd_entry_present(batch->entry); present; present &= present - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(present), k = heapd_entry_slab(batch->entry) + i;

		/* The span may be gone with the batch's first slabs. */
		if (supply->heap->t.page_span[first] != first + 1)
			return;
		harvest_release(supply, first, k, batch->masks[i] & ~harvest_ringed(supply, first, k));
		HEAPD_COUNT(supply->heap->t.directory->stats.handed_back_slabs, 1u);
	}
}

static void corrupt(struct heap *heap)
{
	HEAPD_COUNT(heap->t.directory->stats.corrupt, 1u);
	events_fault(heap);
}

static void collect_thread(struct supply *supply, struct heapd_thread *thread, bool again)
{
	uint64_t tail = HEAPD_LOAD_ACQUIRE(&thread->handback_tail),
		 head = HEAPD_READ_ONCE(thread->handback_head);

	if (tail - head > HEAPD_HANDBACK_COUNT) {
		corrupt(supply->heap);
		head = tail;
	}
	for (; head != tail; head++) {
		struct heapd_batch batch;

		held_batch_read(&batch, &thread->handback[head % HEAPD_HANDBACK_COUNT]);
		if (batch.class < HEAPD_CLASS_MAX && held_batch_valid(supply->heap, &batch))
			release_batch(supply, &batch);
		else if (!again) /* its span may have gone with it the first time */
			corrupt(supply->heap);
	}
	HEAPD_STORE_RELEASE(&thread->handback_head, head);
}

static void collect_client(struct heap *heap, const struct client *client, bool again)
{
	uint32_t n;
	struct heapd_thread *threads = client_threads(client, &n);

	__atomic_store_n(&client->memory->handback, 0, __ATOMIC_SEQ_CST);
	for (uint32_t t = 0; t < n; t++)
		collect_thread(heap->supply, &threads[t], again);
}

void supply_collect_handback(struct heap *heap, const struct client *client)
{
	collect_client(heap, client, false);
}

void harvest_handback(struct supply *supply, bool whole)
{
	struct clients *clients = supply->heap->clients;
	uint64_t begin = clock_ns();

	for (uint32_t n = clients->n; n; n--) {
		struct client *client = &clients->slots[supply->harvest_client++ % clients->n];

		if (!client->live || !HEAPD_READ_ONCE(client->memory->handback))
			continue;
		supply_collect_handback(supply->heap, client);
		if (!whole && clock_ns() - begin > PIECE_NS)
			return;
	}
}

/*
 * After the last daemon's death. It had cleared the client's word before it looked, and may have died with something taken back of
 * which the client was not told yet: left to the client's next word, that would be taken back from whoever has it by then.
 */
void harvest_handback_again(struct supply *supply)
{
	const struct clients *clients = supply->heap->clients;

	for (unsigned i = 0; i < clients->n; i++)
		if (clients->slots[i].live)
			collect_client(supply->heap, &clients->slots[i], true);
}

void harvest_some(struct supply *supply, uint64_t now)
{
	uint64_t began;

	if (now < supply->harvest_end + 3 * supply->harvest_took || STEP_IS_OFF(harvest))
		return;
	supply->last_harvest = now;
	began = clock_cpu_ns();
	harvest_handback(supply, false);
	harvest_freed(supply, false);
	supply->harvest_end = clock_ns();
	supply->harvest_took = clock_cpu_ns() - began;
}
