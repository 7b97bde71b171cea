/* SPDX-License-Identifier: MIT */
/*
 * Owns the reading of barrier rings.
 *
 * A thread appends and stores the tail (release); the daemon reads up to the tail (acquire), then stores the
 * head (release), which the thread reads (acquire) before it uses a place again. Tail, head and entries are
 * client-writable: at most a ring's length is read, each entry once, and an entry is only a word that may point
 * somewhere.
 *
 * Why a pass that finds nothing ends the cycle. Let nothing be grey when a pass begins. Every white object that is
 * reachable then is reachable from a value that stands in a ring and was not read yet: a thread that took the last
 * other pointer to it out of an object logged it before (barrier.c of the client: the entry's tail is stored
 * before the field is, both released), a thread whose stack holds it was scanned, and stacks of scanned threads hold
 * whites only that a field or a ring still leads to. Each ring is read to a tail that is at least what it was when
 * the pass began. If none of these values was white, no white object was reachable, and none can become so: what
 * is new is black.
 *
 * The rings are emptied before the cycle's number shows in the directory. A thread's filter spares the ring what
 * the thread logged since it saw that number: so what it is spared was not thrown away.
 */
#include "shades.h"

#include "collection.h"
#include "marks.h"
#include "slots.h"
#include "spans.h"

#define PIECE_WORDS 1024u /* read at once */

_Static_assert((HEAPD_BARRIER_RING & (HEAPD_BARRIER_RING - 1)) == 0 &&
		       (HEAPD_BARRIER_RING_MAX & (HEAPD_BARRIER_RING_MAX - 1)) == 0,
	       "places are found by a mask");

static void ring_empty(struct heapd_thread *thread)
{
	HEAPD_STORE_RELEASE(&thread->barrier_head, HEAPD_LOAD_ACQUIRE(&thread->barrier_tail));
}

static void client_empty(const struct client *client)
{
	uint32_t n;
	struct heapd_thread *threads = client_threads(client, &n);

	for (uint32_t t = 0; t < n; t++)
		ring_empty(&threads[t]);
	HEAPD_WRITE_ONCE(client->memory->overflow, 0);
	HEAPD_WRITE_ONCE(client->memory->barrier_ring, client->ring);
}

int shades_empty(struct heap *heap, struct clients_view *view)
{
	int r = 0;

	for (unsigned i = 0; i < view->n; i++)
		if (HEAPD_READ_ONCE(view->list[i].memory->overflow))
			clients_lengthen(heap, view->list[i].id);
	r = clients_look(heap, view);
	for (unsigned i = 0; r == 0 && i < view->n; i++)
		client_empty(&view->list[i]);
	return r;
}

static void note_word(struct heap *heap, uint64_t word)
{
	struct slot slot;

	if (slot_find(&heap->t, word, &slot))
		heap->marks->early[slot.slab] |= 1ull << slot.bit;
}

/* Words to the marker, or, before there is marking, to the notes. How many became grey. */
static uint64_t take(struct heap *heap, struct marker *marker, const uint64_t *words, uint64_t n)
{
	if (marker)
		return marker_shade_all(marker, words, n, false);
	for (uint64_t i = 0; i < n; i++)
		note_word(heap, words[i]);
	return 0;
}

/* n entries from place `at` of a ring, which does not end before. */
static uint64_t entries_take(struct heap *heap, const struct client *client, uint64_t at, uint64_t n,
			     struct marker *marker)
{
	uint64_t words[PIECE_WORDS], grey = 0;

	while (n) {
		uint64_t piece = n < PIECE_WORDS ? n : PIECE_WORDS;

		if (client_read(client, at, words, piece) < 0) {
			HEAPD_WRITE_ONCE(client->memory->overflow, 1); /* as if they had been dropped */
			break;
		}
		grey += take(heap, marker, words, piece);
		at += piece * 8;
		n -= piece;
	}
	return grey;
}

/* Up to the tail that it has now. A head or tail that makes no sense stands for a whole ring. */
static uint64_t ring_drain(struct heap *heap, const struct client *client, uint32_t index,
			   struct heapd_thread *thread, struct marker *marker)
{
	uint64_t ring = HEAPD_SESSION_BARRIER_AT + 8ul * index * HEAPD_BARRIER_RING_MAX;
	uint64_t tail = HEAPD_LOAD_ACQUIRE(&thread->barrier_tail),
		 n = tail - HEAPD_READ_ONCE(thread->barrier_head), at, until_end, grey;

	if (!n)
		return 0;
	if (n > client->ring)
		n = client->ring;
	at = (tail - n) & (client->ring - 1);
	until_end = client->ring - at < n ? client->ring - at : n;
	grey = entries_take(heap, client, ring + at * 8, until_end, marker);
	grey += entries_take(heap, client, ring, n - until_end, marker);
	HEAPD_STORE_RELEASE(&thread->barrier_head, tail);
	return grey;
}

static uint64_t own_drain(struct heap *heap, struct marker *marker)
{
	struct collection *c = heap->collection;
	uint64_t grey;

	pthread_mutex_lock(&c->mutex);
	grey = take(heap, marker, c->shades, c->nshades);
	c->nshades = 0;
	pthread_mutex_unlock(&c->mutex);
	return grey;
}

static uint64_t drain_all(struct heap *heap, const struct clients_view *view, struct marker *marker)
{
	uint64_t grey = own_drain(heap, marker);

	for (unsigned i = 0; i < view->n; i++) {
		uint32_t n;
		struct heapd_thread *threads = client_threads(&view->list[i], &n);

		for (uint32_t t = 0; t < n; t++)
			grey += ring_drain(heap, &view->list[i], t, &threads[t], marker);
	}
	return grey;
}

void shades_note(struct heap *heap, const struct clients_view *view)
{
	drain_all(heap, view, NULL);
}

uint64_t shades_pass(struct heap *heap, const struct clients_view *view, struct marker *marker)
{
	return drain_all(heap, view, marker);
}

/* No span goes while a cycle is under way, so the owners of slab numbers stand. */
void shades_slab(struct heap *heap, struct marker *marker, uint32_t slab, uint64_t slots)
{
	uint32_t first;

	if (!slots || !ledger_span_of(heap->ledger, slab, &first))
		return;
	const struct heapd_span *span = &heap->t.spans[first];
	uint64_t base = heap->t.base + ((uint64_t)first << HEAPD_PAGE_SHIFT) +
			heapd_slab_offset(span, slab - span->slab0);

	for (; slots; slots &= slots - 1)
		marker_shade(marker, base + (uint64_t)__builtin_ctzll(slots) * span->elemsize);
}

void shades_flush(struct heap *heap, struct marker *marker)
{
	uint64_t n;

	heap_lock(heap);
	n = heap->spans->numbers.high * HEAPD_SLAB_UNIT;
	heap_unlock(heap);
	for (uint64_t slab = 0; slab < n; slab++) {
		if (!heap->marks->early[slab])
			continue;
		shades_slab(heap, marker, (uint32_t)slab, heap->marks->early[slab]);
		heap->marks->early[slab] = 0;
	}
}

bool shades_are_lost(struct heap *heap, const struct clients_view *view)
{
	bool lost;

	pthread_mutex_lock(&heap->collection->mutex);
	lost = heap->collection->shades_lost;
	pthread_mutex_unlock(&heap->collection->mutex);
	for (unsigned i = 0; i < view->n; i++)
		lost |= HEAPD_READ_ONCE(view->list[i].memory->overflow) != 0;
	return lost;
}

void shades_own_begin(struct heap *heap)
{
	struct collection *c = heap->collection;

	pthread_mutex_lock(&c->mutex);
	c->nshades = 0;
	c->shades_lost = false;
	c->shading = true;
	pthread_mutex_unlock(&c->mutex);
}

void shades_own_end(struct heap *heap)
{
	pthread_mutex_lock(&heap->collection->mutex);
	heap->collection->shading = false;
	pthread_mutex_unlock(&heap->collection->mutex);
}
