/* SPDX-License-Identifier: MIT */
/*
 * Owns the daemon's side of the handshakes.
 *
 * Handshake 1. `now` says BARRIER; then a membarrier; then the clients are looked at. A thread registers, executes
 * a full fence, then reads `now` (thread.c, offline.c of the client): so it reads BARRIER and starts with its
 * barrier on, or it was registered when we looked, and we switch its barrier on. After the next membarrier an
 * operation that begins sees `on`; one that may have begun before shows by `inside`, which is odd while it
 * lasts: round one waits for its end. One round is not enough. A thread whose barrier was on early may have read a
 * field's old value while a thread whose barrier was off stored there unlogged; the first one's store then wipes
 * out, unlogged, what the second one stored. So a second round waits for the end of every operation that had begun
 * when the first round ended: from then on none is under way that began while any barrier was off. Those of clients that
 * attached in the first round's time, too, with their barrier on from the first: so the second round looks at the clients anew.
 * (That the first one does, too, is not needed, as the model shows: NEWCOMERS_UNSEEN and FIRST_UNSEEN in tests/model/cycle.pml.)
 *
 * Handshake 2. `now` says SCAN; membarrier; then all who are attached have to answer (session.h): each thread for
 * itself, the agent for those that are offline and for registered ranges. Who registers later holds nothing. A
 * forked child that has not spoken answers by what its parent published for it.
 *
 * A client that is gone has answered: it stores nothing any more, and what it published or logged stands in
 * memory that stays mapped until the cycle ends (clients.h). It is gone when the main thread has read its socket to
 * the end, so the requests that it sent before have been served.
 *
 * We wait for clients here and nowhere else, asleep, and rings are read meanwhile so that they do not run full. A
 * client that is stopped holds up the cycle and nothing else: stall.c says what is done about that.
 */
#include "handshake.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "collection.h"
#include "heapd/delay.h"
#include "heapd/mutant.h"
#include "heapd/probes.h"
#include "heapd/step.h"
#include "shades.h"

#define NAP_FIRST_NS 20000u
#define NAP_SCAN_NS  200000u /* the first in a scan: its end interrupts who answers there just then */
#define NAP_LAST_NS  1000000u
#define NOTIFY_NS    UINT64_C(200000000) /* who has not answered is told once more */
#define LATE_NS \
	UINT64_C(10000000000) /* clients register for membarriers in that time, once collection is on */

struct pending {
	struct heapd_thread *thread;
	uint64_t inside;
	uint64_t id;
};

static long membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

int handshake_possible(void)
{
	long known = membarrier(MEMBARRIER_CMD_QUERY);

	return known > 0 && known & MEMBARRIER_CMD_GLOBAL_EXPEDITED ? 0 : -ENOSYS;
}

/* The expedited form reaches those who registered, as clients do when they attach to a heap that is collected. */
static void fence_all(const struct heap *heap)
{
	uint64_t on = HEAPD_READ_ONCE(heap->collection->switched_on);

	membarrier(on && clock_ns() - on < LATE_NS ? MEMBARRIER_CMD_GLOBAL : MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}

static bool is_stopping(const struct heap *heap)
{
	return HEAPD_READ_ONCE(heap->collection->stop);
}

static const struct client *view_find(const struct clients_view *view, uint64_t id)
{
	for (unsigned i = 0; i < view->n; i++)
		if (view->list[i].id == id)
			return &view->list[i];
	return NULL;
}

/* Of the last daemon's sessions one that was never taken, or was left, has nobody who answers. */
static bool is_deserted(const struct client *client)
{
	return client->socket < 0 && HEAPD_LOAD_ACQUIRE(&client->memory->attached) != HEAPD_SESSION_ATTACHED;
}

static bool has_to_answer(const struct client *client)
{
	return client->live && client->pid && !client->dropped && !is_deserted(client);
}

/* Waiting ----------------------------------------------------------------------------------------------------- */

static void waits_for(struct handshake *h, const struct client *client, const char *what)
{
	h->counts->stalls +=
		stall_look(&h->stall, h->heap, h->cycle, client, what, "is it stopped, or being debugged?");
}

/* Asleep for a while that doubles. What the barriers report meanwhile is noted, and the clients are looked at anew. */
static int nap(struct handshake *h, uint64_t *ns)
{
	struct timespec t = { .tv_nsec = (long)*ns };
	int r;

	if (is_stopping(h->heap))
		return -ECANCELED;
	beat_count(&h->heap->collection_beat);
	nanosleep(&t, NULL);
	*ns = *ns * 2 < NAP_LAST_NS ? *ns * 2 : NAP_LAST_NS;
	r = clients_look(h->heap, h->view);
	if (r == 0)
		shades_note(h->heap, h->view);
	STEP(nap);
	return r;
}

/* Handshake 1 ------------------------------------------------------------------------------------------------- */

static int pending_add(struct handshake *h, struct heapd_thread *thread, uint64_t inside, uint64_t id)
{
	uint32_t room = h->room ? 2 * h->room : 64;

	if (h->n == h->room) {
		struct pending *list = reallocarray(h->list, room, sizeof(*list));

		if (!list)
			return -ENOMEM;
		h->list = list;
		h->room = room;
	}
	h->list[h->n++] = (struct pending){ thread, inside, id };
	return 0;
}

/* All threads that are inside an operation now. */
static int pending_gather(struct handshake *h)
{
	int r = 0;

	h->n = 0;
	for (unsigned i = 0; i < h->view->n; i++) {
		const struct client *client = &h->view->list[i];
		uint32_t n;
		struct heapd_thread *threads = client_threads(client, &n);

		for (uint32_t t = 0; r == 0 && has_to_answer(client) && t < n; t++) {
			uint64_t inside = HEAPD_LOAD_ACQUIRE(&threads[t].gate.inside);

			if (inside % 2 && HEAPD_READ_ONCE(threads[t].state) != HEAPD_THREAD_FREE)
				r = pending_add(h, &threads[t], inside, client->id);
		}
	}
	return r;
}

/* Drops those that have left their operation, and those whose process is gone. One that stays, or NULL. */
static const struct client *pending_left(struct handshake *h)
{
	const struct client *stalled = NULL;
	uint32_t left = 0;

	for (uint32_t i = 0; i < h->n; i++) {
		struct pending p = h->list[i];
		const struct client *client = view_find(h->view, p.id);

		if (!client || !has_to_answer(client) ||
		    HEAPD_LOAD_ACQUIRE(&p.thread->gate.inside) != p.inside)
			continue;
		h->list[left++] = p;
		stalled = client;
	}
	h->n = left;
	return stalled;
}

static int round_wait(struct handshake *h)
{
	uint64_t ns = NAP_FIRST_NS;
	const struct client *stalled;
	int r;

	fence_all(h->heap);
	r = MUTANT(newcomers_unseen) ? 0 : clients_look(h->heap, h->view);
	if (r == 0)
		r = pending_gather(h);
	while (r == 0 && (stalled = pending_left(h))) {
		waits_for(h, stalled, "has been inside an operation");
		r = nap(h, &ns);
	}
	return r;
}

/* A standing publication is its child's until that comes up; then it is cleared, here at the latest. */
static void thread_switch_on(struct heapd_thread *thread, uint32_t cycle)
{
	uint32_t standing = HEAPD_PUBLISHED_STANDING, state = HEAPD_READ_ONCE(thread->state);

	HEAPD_STORE_RELEASE(&thread->gate.on, cycle);
	if (state != HEAPD_THREAD_CLAIMED)
		__atomic_compare_exchange_n(&thread->published_cycle, &standing, 0, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
}

static void switch_on(struct handshake *h)
{
	for (unsigned i = 0; i < h->view->n; i++) {
		uint32_t n;
		struct heapd_thread *threads = client_threads(&h->view->list[i], &n);

		for (uint32_t t = 0; t < n; t++)
			thread_switch_on(&threads[t], h->cycle);
		DELAY(4);
	}
}

static void begin(struct handshake *h, unsigned which)
{
	stall_begin(&h->stall);
	HEAPD_PROBE(handshake__begin, h->heap->name, h->cycle, which);
}

static uint64_t end(struct handshake *h, unsigned which)
{
	uint64_t ns = clock_ns() - h->stall.begin;

	stall_end(&h->stall, h->heap);
	HEAPD_PROBE(handshake__end, h->heap->name, h->cycle, which, ns, h->counts->threads);
	return ns;
}

int handshake_barrier(struct handshake *h)
{
	int r;

	begin(h, 1);
	fence_all(h->heap);
	r = clients_look(h->heap, h->view);
	if (r < 0)
		return r;
	DELAY(4);
	switch_on(h);
	DELAY(4);
	r = round_wait(h);
	DELAY(4);
	if (r == 0 && !MUTANT(one_round))
		r = round_wait(h);
	STEP(barriers_up);
	h->counts->barrier_ns = end(h, 1);
	return r;
}

/* Handshake 2 ------------------------------------------------------------------------------------------------- */

static bool thread_has_answered(const struct heapd_thread *thread, uint32_t cycle)
{
	/* The state first: a record that is claimed anew after that is of a thread that saw SCAN. */
	uint32_t state = HEAPD_LOAD_ACQUIRE(&thread->state);

	return state == HEAPD_THREAD_FREE || HEAPD_LOAD_ACQUIRE(&thread->scanned) == cycle;
}

static bool client_has_answered(const struct client *client, uint32_t cycle, uint64_t *threads)
{
	uint32_t n;
	const struct heapd_thread *list = client_threads(client, &n);

	if (HEAPD_LOAD_ACQUIRE(&client->memory->ranges_cycle) != cycle)
		return false;
	for (uint32_t t = 0; t < n; t++)
		if (!thread_has_answered(&list[t], cycle))
			return false;
	*threads += n;
	return true;
}

/* Of those who were there when it began (id): one that has not answered, or NULL. */
static const struct client *unanswered(struct handshake *h, uint64_t newest)
{
	h->counts->threads = 0;
	for (unsigned i = 0; i < h->view->n; i++) {
		const struct client *client = &h->view->list[i];

		if (client->id <= newest && has_to_answer(client) &&
		    !client_has_answered(client, h->cycle, &h->counts->threads))
			return client;
	}
	return NULL;
}

/* Numbers of sessions only grow: who comes later has a greater one. */
static uint64_t newest_of(const struct clients_view *view)
{
	uint64_t newest = 0;

	for (unsigned i = 0; i < view->n; i++)
		if (view->list[i].id > newest)
			newest = view->list[i].id;
	return newest;
}

/* Again from time to time: a note is lost if the kernel has no memory for it just then. Who has seen it sees nothing new. */
static void notify(struct handshake *h)
{
	static const struct heapd_message note = { .op = HEAPD_NOTE_HANDSHAKE };
	uint64_t now = clock_ns();

	if (h->notified && now - h->notified < NOTIFY_NS)
		return;
	h->notified = now;
	clients_notify(h->heap, &note);
}

int handshake_scan(struct handshake *h)
{
	uint64_t ns = NAP_SCAN_NS, newest;
	const struct client *stalled;
	int r;

	begin(h, 2);
	fence_all(h->heap);
	h->notified = 0;
	notify(h);
	r = clients_look(h->heap, h->view);
	newest = newest_of(h->view);
	while (r == 0 && !MUTANT(no_scan) && (stalled = unanswered(h, newest))) {
		waits_for(h, stalled, "has not been scanned");
		r = nap(h, &ns);
		notify(h);
	}
	/* Who came meanwhile may have a forked child's publication. */
	if (r == 0)
		r = clients_look(h->heap, h->view);
	h->counts->scan_ns = end(h, 2);
	return r;
}

void handshake_off(struct handshake *h)
{
	for (unsigned i = 0; i < h->view->n; i++) {
		uint32_t n;
		struct heapd_thread *threads = client_threads(&h->view->list[i], &n);

		for (uint32_t t = 0; t < n; t++) {
			uint32_t on = h->cycle;

			__atomic_compare_exchange_n(&threads[t].gate.on, &on, 0, false, __ATOMIC_ACQ_REL,
						    __ATOMIC_RELAXED);
		}
	}
}

void handshake_deinit(struct handshake *h)
{
	free(h->list);
	h->list = NULL;
}
