/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; says that the directory's counts have grown. Which they are, and since when, a client finds by
 * comparing them with what it has seen (event.c of the client), so nothing that happens is lost when a note is: one that does not
 * fit into a client's socket finds others there that it has not read, and the client looks after it read them.
 * Nobody is waited for. Many refusals in a row are told of once in a while.
 */
#include "events.h"

#include "clients.h"
#include "heapd/atomic.h"

#define LOW_NS UINT64_C(100000000) /* between two notes */

void events_clients(struct heap *heap)
{
	if (!HEAPD_READ_ONCE(heap->clients->watchers))
		return;
	heap_lock(heap);
	clients_notify_watchers(heap);
	heap_unlock(heap);
}

void events_fault(struct heap *heap)
{
	clients_notify_watchers(heap);
}

void events_low(struct heap *heap, uint64_t now)
{
	HEAPD_COUNT(heap->t.directory->cycle.low, 1u);
	events_fault(heap);
	if (now - heap->clients->low_told < LOW_NS)
		return;
	heap->clients->low_told = now;
	clients_notify_events(heap);
}

void events_cycle(struct heap *heap, bool low)
{
	heap_lock(heap);
	if (low)
		HEAPD_COUNT(heap->t.directory->cycle.low, 1u);
	clients_notify_events(heap);
	heap_unlock(heap);
}
