/* SPDX-License-Identifier: MIT */
/*
 * Large objects, on the daemon's side: each a span of its own, made when it is asked for, by the main thread.
 *
 * They take nothing from a ring, so that the supplier may be asleep for seconds while a heap grows by them. Two things that it sees
 * to in its rounds are seen to here, too: whether a cycle is to begin, and that memory is committed ahead, for which it is woken, or the scavenger is (ahead.c).
 *
 * A large object is out, and held for whom it is for, in one step under heap->lock; what becomes of it if that one dies, stands in clients.h.
 */
#include <errno.h>

#include "ahead.h"
#include "clean.h"
#include "clock.h"
#include "hardened.h"
#include "poison.h"
#include "supply.h"
#include "takers.h"

/* To commit ahead. It may miss that as it falls asleep: then the next one wakes it. */
static void wake(struct supply *supply)
{
	uint32_t *bell = &supply->heap->t.control->bell;

	if (HEAPD_READ_ONCE(*bell) == HEAPD_BELL_AWAKE)
		return;
	HEAPD_WRITE_ONCE(*bell, HEAPD_BELL_AWAKE);
	futex_wake_all(bell);
}

/* Less is committed ahead than is to be, and more may be. */
static bool is_behind(const struct supply *supply)
{
	const struct pages *pages = &supply->pages;

	return pages_are_short(pages, PAGES_SUPPLIER) &&
	       pages_committed_bytes(pages) + HEAPD_CHUNK_SIZE <= heap_limit(supply->heap);
}

/* What lies in rings is taken back for it. */
static int cut(struct supply *supply, uint32_t class, uint64_t bytes, uint64_t align, uint32_t *first,
	       bool *zeroed)
{
	int r = spans_cut_large(&supply->spans, class, bytes, align, first, zeroed);

	if (r != -ENOMEM)
		return r;
	supply_scrape(supply, HEAPD_CLASS_MAX);
	return spans_cut_large(&supply->spans, class, bytes, align, first, zeroed);
}

int supply_large(struct heap *heap, uint32_t class, uint64_t bytes, uint64_t align, unsigned client,
		 uint64_t *address, bool *zeroed)
{
	struct supply *supply = heap->supply;
	bool is_short;
	uint32_t first;
	int r;

	takers_settle(heap, bytes);
	heap_lock(heap);
	r = takers_allow(supply, client, bytes);
	if (r == 0)
		r = cut(supply, class, bytes, align, &first, zeroed);
	if (r == 0) {
		*address = heap->t.base + ((uint64_t)first << HEAPD_PAGE_SHIFT);
		takers_note(supply, client, first);
		if (!hardened_is_on(heap) && !poison_is_on(heap))
			pages_clean_note(&supply->pages, heap->t.spans[first].npages);
		heap->clients->slots[client].in_flight = *address;
		heap->clients->slots[client].sent = false;
		clients_changed(heap->clients);
		HEAPD_STORE_RELEASE(&heap->clients->records[client].in_flight, *address);
	} else if (r == -ENOMEM) {
		supply_refused(heap, class, bytes);
	}
	supply_look_at_pace(supply);
	pages_ring(&supply->pages);
	is_short = is_behind(supply);
	heap_unlock(heap);
	if (is_short)
		wake(supply);
	return r;
}
