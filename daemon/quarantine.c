/* SPDX-License-Identifier: MIT */
/*
 * Owns which spans are in quarantine: state->lost, set here alone and for as long as the daemon lives.
 *
 * Nothing of such a span is supplied again, and its pages never go back: whoever was given them would get SIGBUS. Its objects are
 * marked and swept as any, but what stood in the lost page is zero for the marker. That is right: what is lost is lost for
 * all processes (bus.c makes sure of it), so what only led from there can be reached by nobody any more, and is garbage; what else
 * leads to, stacks and registers among it, is found there. All the same the cycle in which a page is found lost is void, and
 * takes nothing back: parts of it have been read before, parts not, and the span was in supply.
 *
 * What cannot be helped: a client that touches the page gets SIGBUS itself, as with any memory; slots of the span that lie in
 * current slabs and spares of clients cannot be taken from them; and a page that nobody has read yet, in the free memory,
 * is not known. A daemon that is started again finds lost pages when it marks for the first time.
 */
#include "quarantine.h"

#include <inttypes.h>

#include "clock.h"
#include "events.h"
#include "supply.h"

static void tell_lost(struct heap *heap, uint64_t offset)
{
	const struct bus *bus = &heap->bus;
	struct journal_event event = {
		.id = EVENT_MEMORY_LOST, .heap = heap->name, .address = bus->base + offset, .count = bus->step
	};

	HEAPD_COUNT(heap->t.directory->stats.lost, bus->step);
	log_event(
		heap->log, &heap->failed, LOG_ERR, &event,
		"heap '%s': %" PRIu64 " bytes at 0x%" PRIx64
		" cannot be read any more: what stood there is lost, and objects around it are not allocated again",
		heap->name, bus->step, bus->base + offset);
	events_fault(heap);
}

static void span_lose(struct heap *heap, uint32_t page)
{
	uint32_t first = heap->t.page_span[page];

	if (!first || span_state_of(&heap->supply->spans, first - 1)->lost)
		return;
	/* What lies in the ring comes out before the span stops to be supplied from. */
	ring_note_taken(heap->supply, heap->t.spans[first - 1].class, clock_ns());
	ring_withdraw(heap->supply, heap->t.spans[first - 1].class, 0);
	spans_lose(&heap->supply->spans, first - 1);
}

static void page_lose(struct heap *heap, uint64_t offset)
{
	uint64_t end = offset + heap->bus.step;

	tell_lost(heap, offset);
	for (uint64_t at = offset; at < end; at += HEAPD_PAGE_SIZE)
		span_lose(heap, (uint32_t)(at >> HEAPD_PAGE_SHIFT));
}

/* Those of a word of the table that are news. */
static void word_look(struct heap *heap, uint64_t w)
{
	uint64_t bits = __atomic_load_n(&heap->bus.lost[w], __ATOMIC_RELAXED) & ~heap->bus.told[w];

	heap->bus.told[w] |= bits;
	for (; bits; bits &= bits - 1)
		page_lose(heap, (w * 64 + (uint64_t)__builtin_ctzll(bits)) * heap->bus.step);
}

static void tell_repaired(struct heap *heap)
{
	uint64_t n = __atomic_load_n(&heap->bus.repaired, __ATOMIC_RELAXED);

	if (n == heap->bus.repaired_told)
		return;
	log_limited(heap->log, &heap->failed, LOG_WARNING,
		    "heap '%s': %" PRIu64 " pages could not be read, and were mapped anew; nothing is lost",
		    heap->name, n - heap->bus.repaired_told);
	heap->bus.repaired_told = n;
	HEAPD_WRITE_ONCE(heap->t.directory->stats.repaired, n * heap->bus.step);
}

bool quarantine_look(struct heap *heap)
{
	struct bus *bus = &heap->bus;
	uint64_t n = HEAPD_LOAD_ACQUIRE(&bus->nlost);

	tell_repaired(heap);
	if (n == bus->nlost_told)
		return false;
	for (uint64_t w = 0; w < (bus->size / bus->step + 63) / 64; w++)
		word_look(heap, w);
	bus->nlost_told = n;
	return true;
}
