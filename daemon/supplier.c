/* SPDX-License-Identifier: MIT */
/*
 * The supplier thread of a heap, and the entry points that other threads use.
 *
 * It owns nothing that needs it to be a thread: all state is under heap->lock. It sleeps on the bell in
 * control. Falling asleep: bell = NAP or SLEEP, full fence, look at demand once more, futex-wait while
 * the bell is unchanged. Ringing (client): set demand, full fence, read the bell, wake. The two fences
 * pair: at least one of the two sees the other, so no demand is slept over. A hostile bell costs wake-ups
 * at most; a wait is bounded anyway.
 *
 * What clients can make it do is bounded: rounds (demand.c) that did nobody any good, and those in which memory was looked for, are
 * followed by a rest that no bell ends; and the lock is given to whoever waits for it between two rounds.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "ahead.h"
#include "clock.h"
#include "collection.h"
#include "supply.h"
#include "takers.h"
#include "visit.h"

#define SUPPLIER_NICE (-10)
#define AWAIT_NS      200000u   /* between looks while a collection is awaited */
#define IDLE_NS       200000u   /* of needless rounds, before they are rested from */
#define IDLE_REST_NS  50000000u /* at most */

static bool demanded(const struct supply *supply)
{
	for (uint32_t w = 0; w < HEAPD_CLASS_MAX / 64; w++)
		if (HEAPD_READ_ONCE(supply->heap->t.control->demand[w]))
			return true;
	return HEAPD_READ_ONCE(supply->stop);
}

static void rest(struct supply *supply, uint64_t ns)
{
	uint32_t *bell = &supply->heap->t.control->bell,
		 how = ns <= SUPPLY_NAP_CALM_NS ? HEAPD_BELL_NAP : HEAPD_BELL_SLEEP;

	/* Demand that waits for a cycle is no reason to be awake. */
	if (supply->awaiting) {
		nanosleep(&(struct timespec){ .tv_nsec = AWAIT_NS }, NULL);
		return;
	}
	HEAPD_WRITE_ONCE(*bell, how);
	HEAPD_FENCE();
	if (!demanded(supply))
		futex_wait(bell, how, ns);
	HEAPD_WRITE_ONCE(*bell, HEAPD_BELL_AWAKE);
}

/* Changes with everything that a round can do for somebody. */
static uint64_t progress(const struct supply *supply)
{
	const struct heapd_stats *stats = &supply->heap->t.directory->stats;

	return stats->supplied_slots + stats->harvested_slots + stats->committed;
}

/*
 * After a round that took so long, and came so long after the last one. Rounds that nobody needed, and those in
 * which memory was looked for, get a third of a processor: who rings without need gains nothing by it.
 */
static void calm(struct supply *supply, uint64_t took, uint64_t rested, bool useful)
{
	uint64_t ns = supply->idle_ns;

	if (rested < SUPPLY_NAP_MIN_NS) { /* falling asleep and waking up, no rest */
		took += rested;
		rested = 0;
	}
	ns -= rested / 2 < ns ? rested / 2 : ns;
	if (!useful)
		ns += took;
	supply->idle_ns = ns;
	if (useful || ns < IDLE_NS)
		return;
	ns = 2 * ns < IDLE_REST_NS ? 2 * ns : IDLE_REST_NS;
	nanosleep(&(struct timespec){ .tv_nsec = (long)ns }, NULL);
	supply->idle_ns = 0;
}

/* A moment's worth of chunks. The lock is left while one is committed. */
static void commit_ahead(struct heap *heap)
{
	struct pages *pages = &heap->supply->pages;
	uint64_t begin = clock_ns();
	bool more;

	heap_lock(heap);
	pages_ring(pages);
	do {
		more = pages_ahead_begin(pages, PAGES_SUPPLIER);
		heap_unlock(heap);
		if (more)
			pages_ahead_commit(pages, PAGES_SUPPLIER);
		heap_lock(heap);
		more = more && pages_ahead_end(pages, PAGES_SUPPLIER);
	} while (more && clock_ns() - begin < SUPPLY_NAP_NS);
	heap_unlock(heap);
}

uint64_t supply_round(struct heap *heap)
{
	uint64_t ns;

	heap_lock(heap);
	ns = supply_serve(heap->supply);
	heap_unlock(heap);
	commit_ahead(heap);
	return ns;
}

/* Returns how long to rest. */
static uint64_t make_round(struct supply *supply, uint64_t last)
{
	struct heap *heap = supply->heap;
	uint64_t ns, before, begin = clock_ns();
	bool useful, look_again;

	pthread_mutex_lock(&heap->lock);
	before = progress(supply);
	ns = supply_serve(supply);
	pthread_mutex_unlock(&heap->lock);
	commit_ahead(heap);
	pthread_mutex_lock(&heap->lock);
	useful = (progress(supply) != before && !supply->scraped) || supply->awaiting;
	pthread_mutex_unlock(&heap->lock);
	heap_give_way(heap);
	look_again = visit_stranded(supply, clock_ns());
	HEAPD_COUNT(heap->t.directory->stats.supply_ns, clock_ns() - begin);
	calm(supply, clock_ns() - begin, begin - last, useful);
	return look_again && ns > SUPPLY_SECOND_NS ? SUPPLY_SECOND_NS : ns;
}

static void *supplier(void *arg)
{
	struct supply *supply = arg;
	uint64_t end = clock_ns();

	prctl(PR_SET_TIMERSLACK, 1000ul);            /* naps are short ... */
	setpriority(PRIO_PROCESS, 0, SUPPLIER_NICE); /* ... and so is its work: where it may, it goes first */
	while (!HEAPD_READ_ONCE(supply->stop)) {
		uint64_t ns;

		beat_begin(&supply->heap->supply_beat);
		ns = make_round(supply, end);
		beat_rest(&supply->heap->supply_beat);
		end = clock_ns();
		rest(supply, ns);
	}
	HEAPD_WRITE_ONCE(supply->running, false);
	return NULL;
}

static int thread_start(struct supply *supply)
{
	sigset_t all, before;
	char name[16];
	int r;

	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* bus.h */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	supply->running = true;
	r = pthread_create(&supply->thread, NULL, supplier, supply);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	supply->started = true;
	snprintf(name, sizeof(name), "supply:%.8s", supply->heap->name);
	pthread_setname_np(supply->thread, name);
	return 0;
}

static void supply_publish(struct heap *heap, struct supply *supply)
{
	heap->supply = supply;
	heap->ledger = supply ? &supply->ledger : NULL;
	heap->pages = supply ? &supply->pages : NULL;
	heap->spans = supply ? &supply->spans : NULL;
}

int supply_init(struct heap *heap)
{
	struct supply *supply = calloc(1, sizeof(*supply));
	int r;

	if (!supply)
		return -ENOMEM;
	supply->heap = heap;
	supply->portion = (unsigned)get_nprocs() + 1;
	supply->double_free_limit.what = "double frees";
	supply->misfree_limit.what = "refused frees";
	held_init(&supply->held);
	r = ledger_init(&supply->ledger, heap);
	if (r == 0)
		r = pages_init(&supply->pages, heap);
	if (r < 0)
		goto out_free;
	r = spans_init(&supply->spans, heap, &supply->ledger, &supply->pages);
	if (r < 0)
		goto out_pages;
	r = takers_init(supply);
	if (r == 0)
		r = visit_init(supply);
	if (r < 0)
		goto out_takers;
	supply_publish(heap, supply);
	return 0;
out_takers:
	takers_deinit(supply);
	spans_deinit(&supply->spans);
out_pages:
	pages_deinit(&supply->pages);
out_free:
	free(supply);
	return r;
}

int supply_run(struct heap *heap)
{
	return thread_start(heap->supply);
}

int supply_start(struct heap *heap)
{
	int r = supply_init(heap);

	if (r < 0)
		return r;
	r = supply_run(heap);
	if (r < 0)
		supply_stop(heap);
	return r;
}

/* Once is enough, unless a client keeps writing the bell between our write and the supplier's sleep. */
static void thread_stop(struct supply *supply)
{
	static const struct timespec moment = { .tv_nsec = 1000000 };
	uint32_t *bell = &supply->heap->t.control->bell;

	HEAPD_WRITE_ONCE(supply->stop, true);
	while (HEAPD_READ_ONCE(supply->running)) {
		HEAPD_FENCE(); /* pairs with the one in rest(): it sees stop, or we see it asleep */
		HEAPD_WRITE_ONCE(*bell, HEAPD_BELL_AWAKE);
		futex_wake_all(bell);
		nanosleep(&moment, NULL);
	}
	pthread_join(supply->thread, NULL);
}

void supply_stop(struct heap *heap)
{
	struct supply *supply = heap->supply;

	if (!supply)
		return;
	if (supply->started)
		thread_stop(supply);
	log_limit_flush(heap->log, &supply->double_free_limit, LOG_WARNING);
	log_limit_flush(heap->log, &supply->misfree_limit, LOG_WARNING);
	visit_deinit(supply);
	takers_deinit(supply);
	spans_deinit(&supply->spans);
	pages_deinit(&supply->pages);
	held_deinit(&supply->held);
	free(supply->freed);
	free(supply);
	supply_publish(heap, NULL);
}

int supply_sync(struct heap *heap)
{
	bool active;

	heap_lock(heap);
	active = collection_is_active(heap);
	harvest_handback(heap->supply, true);
	harvest_freed(heap->supply, true);
	heap_unlock(heap);
	return active ? -EAGAIN : 0;
}
