/* SPDX-License-Identifier: MIT */
/*
 * demands.c - owns what the daemon is made to do while something is amiss in what a client can write: it supplies, harvests, collects
 * from the first step to the last, and verifies. It answers within a bound, or says that it waits for this client, and goes on when what
 * is amiss is taken back; it lives, and another heap's witness and verification know nothing of it.
 */
#include "demands.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOUND_NS (HOSTILE_BOUND_S * UINT64_C(1000000000))

/* What lies in the heap ------------------------------------------------------------------------------------------------ */

static void fill_sizes(heapd_heap *heap, struct node **table)
{
	for (unsigned i = 0; i < 400; i++) {
		void *p = heapd_alloc(heap, 16u << (i % 12));

		if (p && i % 3 == 0)
			heapd_free(p);
		else if (p)
			heapd_store(&table[i % 64], p);
	}
}

static int failed(void)
{
	fprintf(stderr, "%s\n", heapd_error());
	return 1;
}

int demands_fill(void *name)
{
	heapd_heap *heap;
	struct node **table;

	if (heapd_attach(&heap, name, NULL) < 0)
		return failed();
	table = heapd_alloc(heap, 64 * sizeof(*table));
	if (!table || heapd_root_set(heap, "table", table) < 0)
		return failed();
	fill_sizes(heap, table);
	if (!heapd_weak_new(heap, table) || !heapd_alloc(heap, 100000))
		return failed();
	return heapd_detach(heap) < 0 ? failed() : 0;
}

/*
 * Who can write frees what it likes, the root's object, too: then there would be nothing to mark. A client that believes what stands in
 * the heap may come to harm by what the attacker has left there, and is tried again after the next round.
 */
static void fill_anew(struct demands *d, const struct hostile *h)
{
	pid_t pid = fixture_client_fork(demands_fill, (void *)(uintptr_t)h->name);
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			err(1, "waitpid");
	if (status == 0)
		d->count->filled++;
	else
		d->count->unfilled++;
}

/* Answers -------------------------------------------------------------------------------------------------------------- */

static void daemon_lives(const struct demands *d)
{
	char path[64], state = 'Z';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", d->fixture->daemon);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1 || state == 'Z')
		errx(1, "the daemon has ended");
	fclose(file);
}

/* The reply's status. A client whose session makes no sense may be sent away: it comes again. */
static int ask(struct demands *d, struct hostile *h, struct heapd_message *m)
{
	uint64_t begin = fixture_now_ns();
	int r = fixture_call(h->socket, m, NULL);

	hostile_bound_set(h, fixture_now_ns() - begin);
	if (r < 0)
		daemon_lives(d);
	if (r == -EAGAIN)
		errx(1, "heap %s: no answer to request %u in the time allowed; --from %" PRIu64, h->name,
		     m->op, *d->place);
	if (r == -ECONNRESET) {
		d->count->dropped++;
		hostile_leave(h);
		hostile_attach(h, d->fixture);
	}
	return r < 0 ? r : m->status;
}

/* The bytes of the whole heap are looked at, with what is changed still changed: what it tells of is the attacker's. */
static void verify_whole(struct demands *d, struct hostile *h)
{
	struct heapd_message m = { .op = HEAPD_OP_VERIFY };

	d->count->verifications++;
	if (ask(d, h, &m) != 0)
		return;
	d->count->faults += m.verify.faults != 0;
	d->reachable = m.verify.reachable_objects;
}

/* Collections ---------------------------------------------------------------------------------------------------------- */

static bool collects(const struct hostile *h)
{
	return strcmp(h->name, "plain") != 0;
}

/* Until so many have come to their end, or, where `stalls` is not NULL, the daemon has said once more for whom it waits. */
static void await_finished(const struct demands *d, const struct hostile *h, uint64_t finished,
			   const uint64_t *stalls)
{
	const struct heapd_cycle_words *cycle = &h->tables.directory->cycle;
	uint64_t told = stalls ? HEAPD_READ_ONCE(*stalls) : 0;
	uint64_t end = fixture_now_ns() + BOUND_NS;

	while (HEAPD_LOAD_ACQUIRE(&cycle->finished) < finished &&
	       (!stalls || HEAPD_READ_ONCE(*stalls) == told)) {
		if (fixture_now_ns() > end)
			errx(1, "heap %s: a collection does not end; --from %" PRIu64, h->name, *d->place);
		usleep(20);
	}
}

/*
 * A collection that begins after this, from its first step to its last. Or it cannot end: what was changed says of a thread that it
 * is in the midst of something, or holds more than there is room for, and the daemon says so.
 */
static void collect_whole(struct demands *d, struct hostile *h)
{
	const uint64_t *stalls = &h->tables.directory->stats.gc_stalls;
	struct heapd_message m = { .op = HEAPD_OP_COLLECT };

	m.collect.finished = HEAPD_READ_ONCE(h->tables.directory->cycle.finished) + 2;
	if (!collects(h) || (strcmp(h->name, "stress") != 0 && ask(d, h, &m) != 0))
		return;
	await_finished(d, h, m.collect.finished, stalls);
	d->stalled = HEAPD_LOAD_ACQUIRE(&h->tables.directory->cycle.finished) < m.collect.finished;
	d->count->stalls += d->stalled;
}

void demands_go_on(struct demands *d, const struct hostile *h)
{
	if (d->stalled)
		await_finished(d, h, HEAPD_READ_ONCE(h->tables.directory->cycle.finished) + 1, NULL);
	d->stalled = false;
}

/* Works and rounds ------------------------------------------------------------------------------------------------------ */

void demands_work(struct demands *d, struct hostile *h, uint64_t n)
{
	struct heapd_message m = { .op = HEAPD_OP_SYNC };
	struct heapd_control *control = h->tables.control;

	__atomic_fetch_or(&control->demand[n % 3], 1ull << (n / 3 % 64), __ATOMIC_RELAXED);
	h->session->handback = 1;
	ask(d, h, &m);
	collect_whole(d, h);
	d->count->lively += d->reachable >= DEMANDS_ALIVE;
	if (++d->count->works % d->verify == 0)
		verify_whole(d, h);
}

static void await_witness(struct demands *d)
{
	uint64_t end = fixture_now_ns() + BOUND_NS;

	while (d->board->progress == d->progress && !*d->board->wrong)
		if (fixture_now_ns() > end)
			errx(1, "the other heap's witness does not go on");
		else
			usleep(100);
	if (*d->board->wrong)
		errx(1, "the other heap: %s", d->board->wrong);
	d->progress = d->board->progress;
}

void demands_round_end(struct demands *d, struct hostile *h)
{
	verify_whole(d, h);
	if (d->reachable < DEMANDS_ALIVE)
		fill_anew(d, h);
	await_witness(d);
	if (d->count->verifications % 8 == 0 && fixture_verify(d->fixture, FIXTURE_HEAP) != 0)
		errx(1, "the other heap is not clean");
}
