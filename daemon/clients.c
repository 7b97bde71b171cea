/* SPDX-License-Identifier: MIT */
/*
 * clients.c - owns the table of session memories of a heap.
 *
 * Right because a place is reused only after its memory was taken out under the lock: whoever holds the lock
 * sees live entries whose memory is mapped, and nothing is unmapped under a reader's feet. The collector reads without
 * the lock: what is mapped when its cycle begins, or comes later, stays mapped until the cycle ends, because removal
 * only marks an entry as gone while collection->active (under the lock) is set.
 */
#include "clients.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "collection.h"
#include "heapd/mutant.h"

int clients_init(struct heap *heap)
{
	struct ledger ledger;
	int r = ledger_init(&ledger, heap);

	if (r < 0)
		return r;
	heap->clients = calloc(1, sizeof(*heap->clients));
	if (!heap->clients)
		return -ENOMEM;
	heap->clients->records = ledger.sessions;
	return 0;
}

void clients_deinit(struct heap *heap)
{
	struct clients *c = heap->clients;

	if (!c)
		return;
	clients_reap(heap);
	free(c->slots);
	free(c);
	heap->clients = NULL;
}

static int grow(struct clients *c)
{
	unsigned allocated = c->allocated ? 2 * c->allocated : 16;
	struct client *slots;

	if (allocated > LEDGER_SESSIONS)
		return -ENOMEM;
	slots = reallocarray(c->slots, allocated, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	c->slots = slots;
	c->allocated = allocated;
	return 0;
}

static unsigned free_place(const struct clients *c)
{
	unsigned i = 0;

	if (c->used == c->n)
		return c->n;
	while (c->slots[i].live || c->slots[i].gone)
		i++;
	return i;
}

/*
 * Nobody's is full until that is counted: also not that of one that the last daemon told so. Its threads may wait for an answer: the
 * event says to look again, and a count of refusals that changed would be one.
 */
static void share_begin(struct client *client)
{
	struct heapd_share *share = &client->memory->share;

	client->share_event = HEAPD_READ_ONCE(share->event) + 1;
	client->share_refused = HEAPD_READ_ONCE(share->refused);
	HEAPD_WRITE_ONCE(share->taker, client->taker);
	HEAPD_WRITE_ONCE(share->asked, 0);
	HEAPD_WRITE_ONCE(share->bytes, 0);
	HEAPD_WRITE_ONCE(share->most, 0);
	HEAPD_WRITE_ONCE(share->full, 0);
	HEAPD_STORE_RELEASE(&share->event, client->share_event);
	futex_wake_all(&share->event);
}

int clients_add(struct heap *heap, const struct client *client, unsigned *index)
{
	struct clients *c = heap->clients;
	unsigned i = free_place(c);

	if (i == c->allocated && grow(c) < 0)
		return -ENOMEM;
	c->slots[i] = *client;
	c->slots[i].live = true;
	c->slots[i].ring = HEAPD_BARRIER_RING;
	HEAPD_WRITE_ONCE(client->memory->barrier_ring, HEAPD_BARRIER_RING);
	share_begin(&c->slots[i]);
	c->used++;
	if (i == c->n)
		c->n++;
	*index = i;
	clients_changed(c);
	return 0;
}

/* Its threads may be logging to their rings: those stay as long as they are, if that can be. */
static uint32_t ring_of(const struct client *client)
{
	uint32_t ring = HEAPD_READ_ONCE(client->memory->barrier_ring);

	return ring > HEAPD_BARRIER_RING && ring <= HEAPD_BARRIER_RING_MAX && !(ring & (ring - 1))
		       ? ring
		       : HEAPD_BARRIER_RING;
}

int clients_restore(struct heap *heap, const struct client *client, unsigned index)
{
	struct clients *c = heap->clients;

	while (index >= c->allocated)
		if (grow(c) < 0)
			return -ENOMEM;
	for (; c->n <= index; c->n++)
		c->slots[c->n] = (struct client){ 0 };
	c->slots[index] = *client;
	c->slots[index].live = true;
	c->slots[index].ring = ring_of(client);
	share_begin(&c->slots[index]);
	c->slots[index].in_flight = c->records[index].in_flight;
	c->slots[index].room = c->records[index].room;
	c->used++;
	clients_changed(c);
	return 0;
}

void clients_name(struct heap *heap, unsigned index, pid_t pid, int pidfd, int socket)
{
	struct client *client;

	heap_lock(heap);
	client = &heap->clients->slots[index];
	client->pid = pid;
	client->pidfd = pidfd;
	client->socket = socket;
	clients_changed(heap->clients);
	heap_unlock(heap);
}

void clients_set_room(struct heap *heap, unsigned index, const uint32_t room[2])
{
	struct ledger_session *record = &heap->clients->records[index];

	heap_lock(heap);
	for (unsigned kind = 0; kind < 2; kind++)
		HEAPD_STORE_RELEASE(&record->room[kind], room[kind]);
	heap->clients->slots[index].room = record->room;
	clients_changed(heap->clients);
	heap_unlock(heap);
}

void clients_set_full(struct heap *heap, unsigned index, bool full)
{
	heap_lock(heap);
	heap->clients->slots[index].full = full;
	heap_unlock(heap);
}

uint32_t clients_ring(struct heap *heap, unsigned index)
{
	uint32_t ring;

	heap_lock(heap);
	ring = heap->clients->slots[index].ring;
	heap_unlock(heap);
	return ring;
}

void clients_reconnect(struct heap *heap, unsigned index, int notify, int socket)
{
	struct client *client;

	heap_lock(heap);
	client = &heap->clients->slots[index];
	client->notify = notify;
	client->socket = socket;
	clients_changed(heap->clients);
	heap_unlock(heap);
}

static void forget(struct clients *c, struct client *client)
{
	HEAPD_WRITE_ONCE(c->watchers, c->watchers - client->watches);
	*client = (struct client){ 0 };
	c->used--;
	clients_changed(c);
}

bool client_has_freed(const struct client *client)
{
	uint32_t n;
	const struct heapd_thread *threads = client_threads(client, &n);
	bool freed = false;

	for (uint32_t t = 0; t < n && !freed; t++)
		freed = HEAPD_READ_ONCE(threads[t].freed);
	return freed;
}

bool clients_remove(struct heap *heap, unsigned index)
{
	struct clients *c = heap->clients;
	struct client *client = &c->slots[index];

	assert(index < c->n && client->live);
	c->freed |= client_has_freed(client);
	if (!collection_is_active(heap)) {
		forget(c, client);
		return true;
	}
	client->live = false;
	client->gone = true;
	client->pidfd = -1;
	clients_changed(c);
	return false;
}

void clients_reap(struct heap *heap)
{
	struct clients *c = heap->clients;

	for (unsigned i = 0; i < c->n; i++) {
		struct client *client = &c->slots[i];

		if (!client->gone)
			continue;
		munmap(client->memory, HEAPD_SESSION_CORE);
		close(client->fd);
		forget(c, client);
	}
}

/* What it was is shaded: it was a root until now, and its client may have given up waiting for it. */
void clients_hold(struct heap *heap, unsigned index, uint64_t object)
{
	uint64_t *word;

	heap_lock(heap);
	word = &heap->clients->slots[index].in_flight;
	collection_root_store(heap, word, object);
	heap->clients->slots[index].sent = false;
	clients_changed(heap->clients);
	HEAPD_STORE_RELEASE(&heap->clients->records[index].in_flight, object);
	heap_unlock(heap);
}

void clients_sent(struct heap *heap, unsigned index)
{
	heap_lock(heap);
	heap->clients->slots[index].sent = true;
	heap_unlock(heap);
}

/*
 * What was sent and not received yet still counts for the sending socket. What is yet to be sent does not: a cycle may
 * begin between the making of an object and the reply that has its address.
 */
static bool has_arrived(const struct client *client)
{
	int waiting = 0;

	return client->live && client->sent && client->pid &&
	       ioctl(client->socket, SIOCOUTQ, &waiting) == 0 && !waiting;
}

void clients_arrived(struct heap *heap)
{
	heap_lock(heap);
	for (unsigned i = 0; i < heap->clients->n; i++) {
		struct client *client = &heap->clients->slots[i];

		if (!client->in_flight || !has_arrived(client))
			continue;
		client->in_flight = 0;
		HEAPD_STORE_RELEASE(&heap->clients->records[i].in_flight, 0);
	}
	clients_changed(heap->clients);
	heap_unlock(heap);
}

static void send_note(const struct client *client, const struct heapd_message *note)
{
	send(client->notify, note, sizeof(*note), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void clients_notify_debug(struct heap *heap, uint32_t debug, const struct heapd_message *note)
{
	for (unsigned i = 0; i < heap->clients->n; i++)
		if (heap->clients->slots[i].live && heap->clients->slots[i].debug & debug)
			send_note(&heap->clients->slots[i], note);
}

void clients_notify(struct heap *heap, const struct heapd_message *note)
{
	heap_lock(heap);
	for (unsigned i = 0; i < heap->clients->n; i++)
		if (heap->clients->slots[i].live)
			send_note(&heap->clients->slots[i], note);
	heap_unlock(heap);
}

bool clients_lengthen(struct heap *heap, uint64_t id)
{
	bool can = false;

	heap_lock(heap);
	for (unsigned i = 0; i < heap->clients->n; i++) {
		struct client *client = &heap->clients->slots[i];

		if (!client->live || client->id != id || client->full ||
		    client->ring >= HEAPD_BARRIER_RING_MAX)
			continue;
		client->ring *= 4;
		clients_changed(heap->clients);
		can = true;
	}
	heap_unlock(heap);
	return can;
}

/* The fence pairs with the one of who asks: either the wish is seen here, or what has happened is seen there. */
void clients_notify_events(struct heap *heap)
{
	static const struct heapd_message note = { .op = HEAPD_NOTE_EVENT };
	const struct clients *c = heap->clients;

	HEAPD_FENCE();
	for (unsigned i = 0; i < c->n; i++)
		if (c->slots[i].live && HEAPD_READ_ONCE(c->slots[i].memory->events))
			send(c->slots[i].notify, &note, sizeof(note), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void clients_watch(struct heap *heap, unsigned index)
{
	struct clients *c = heap->clients;

	heap_lock(heap);
	HEAPD_WRITE_ONCE(c->watchers, c->watchers + !c->slots[index].watches);
	c->slots[index].watches = true;
	heap_unlock(heap);
}

void clients_notify_watchers(struct heap *heap)
{
	static const struct heapd_message note = { .op = HEAPD_NOTE_EVENT };
	const struct clients *c = heap->clients;

	for (unsigned i = 0; c->watchers && i < c->n; i++)
		if (c->slots[i].live && c->slots[i].watches)
			send_note(&c->slots[i], &note);
}

int client_read(const struct client *client, uint64_t at, uint64_t *words, uint64_t n)
{
	char *to = (char *)words;
	uint64_t left = n * 8;
	ssize_t got = 1;

	for (; left && got > 0; left -= (uint64_t)got, to += got, at += (uint64_t)got)
		got = pread(client->fd, to, left, (off_t)at);
	return got > 0 || !n ? 0 : -EIO;
}

static int view_room(struct clients_view *view, unsigned n)
{
	struct client *list;

	if (n <= view->room)
		return 0;
	list = reallocarray(view->list, n, sizeof(*list));
	if (!list)
		return -ENOMEM;
	view->list = list;
	view->room = n;
	return 0;
}

int clients_look(struct heap *heap, struct clients_view *view)
{
	struct clients *c = heap->clients;
	int r;

	if (view->version == HEAPD_LOAD_ACQUIRE(&c->version) + 1)
		return 0;
	view->n = 0;
	view->version = 0;
	heap_lock(heap);
	r = view_room(view, c->used);
	for (unsigned i = 0; r == 0 && i < c->n; i++) {
		struct client *client = &c->slots[i];

		if (!client->live && (!client->gone || MUTANT(dead_forgotten)))
			continue;
		view->list[view->n++] = *client;
	}
	if (r == 0)
		view->version = c->version + 1;
	heap_unlock(heap);
	return r;
}

void clients_view_deinit(struct clients_view *view)
{
	free(view->list);
	*view = (struct clients_view){ 0 };
}
