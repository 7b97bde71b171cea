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
 * How full a ring is kept: twice the most that was taken from it between two looks of the last second. So a
 * ring that is found empty doubles by itself, and one that is not stays small: slots come back in the order
 * in which they were freed, so a ring is as much memory as allocation walks through, and what exceeds a cache
 * is paid for with every object. The nap between two looks is as long as half a ring lasts at the rate of the
 * last one. A second in which nothing is taken halves the ring.
 *
 * A class that runs dry at the limit is refused only when a whole collection has passed since: until then its demand
 * stands, and its clients wait. That is how supply slows those who outrun the marker.
 *
 * What clients can make it do is bounded: a round looks for memory once at most and puts off what needs it
 * again; rounds that did nobody any good, and those in which memory was looked for, are followed by a
 * rest that no bell ends; and the lock is given to whoever waits for it between two rounds.
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
#include "events.h"
#include "heapd/probes.h"
#include "misfree.h"
#include "supply.h"
#include "takers.h"
#include "visit.h"

#define NAP_NS        1000000u /* between looks while something is being taken, at most */
#define SUPPLIER_NICE (-10)
#define NAP_MIN_NS    30000u
#define SLEEP_NS      10000000000u /* while nothing is */
#define HARVEST_NS    200000u   /* between harvests while napping: what was freed last is still in a cache */
#define MISFREE_NS    10000000u /* between looks at what clients count, while busy */
#define AWAIT_NS      200000u   /* between looks while a collection is awaited */
#define OWED_NS       100000u   /* between looks while somebody waits for what there is */
#define IDLE_NS       200000u   /* of needless rounds, before they are rested from */
#define IDLE_REST_NS  50000000u /* at most */

static uint64_t slab_bytes(const struct supply *supply, uint32_t class)
{
	const struct heapd_class *c = &supply->heap->t.classes[class];

	return (uint64_t)c->slot_size * c->slab_slots;
}

/* No ring holds more than a 64th of what the heap may have, or 16 MiB; one slab always. */
static uint64_t target_max(const struct supply *supply, uint32_t class)
{
	uint64_t share = heap_limit(supply->heap) / 64, slab = slab_bytes(supply, class);

	share = share < SUPPLY_CLASS_BYTES ? share : SUPPLY_CLASS_BYTES;
	return share < slab ? slab : share;
}

static uint64_t clamp(uint64_t n, uint64_t least, uint64_t most)
{
	return n < least ? least : n > most ? most : n;
}

/* What the last second says. */
static uint64_t target_wanted(const struct supply *supply, uint32_t class)
{
	const struct supply_class *state = &supply->classes[class];
	uint64_t worst = state->worst_now > state->worst_before ? state->worst_now : state->worst_before;

	return clamp(2 * worst, slab_bytes(supply, class), target_max(supply, class));
}

static bool ring_is_empty(const struct supply *supply, uint32_t class)
{
	return supply->ledger.rings[class].head == supply->ledger.rings[class].tail;
}

void supply_scrape(struct supply *supply, uint32_t class)
{
	supply->scraped = true;
	harvest_handback(supply, true);
	harvest_freed(supply, true);
	for (uint32_t c = 0; c < HEAPD_LOAD_ACQUIRE(&supply->heap->t.directory->nclasses); c++) {
		if (c != class)
			ring_withdraw(supply, c, 0);
		if (spans_ready(&supply->spans, c) != SPAN_NONE && c != class)
			harvest_unused_spans(supply, c);
	}
}

/*
 * Wakes as many as there is something for: of a hundred threads that wait, all others would look, find nothing and fall asleep
 * again. And no more at once than there are processors to run them, and one: those that run take what there is without falling asleep
 * for it. Who was not woken is by the next event, since whoever takes what there is asks for more, or at one of the next looks, if
 * nobody does; and if one that was woken dies of it, the others look by themselves when their step of waiting is over.
 */
static void ring_wake(struct supply *supply, uint32_t class)
{
	const struct ledger_ring *ring = &supply->ledger.rings[class];
	uint64_t n = clamp(ring->tail - ring->head, 0, supply->portion);

	supply->classes[class].owed = n && futex_wake(&supply->heap->t.rings[class].event, (int)n) == (long)n;
	if (supply->classes[class].owed)
		supply->nap = clamp(supply->nap, 0, OWED_NS);
}

/* A ring that is empty now is refused to all. */
static void ring_event(struct supply *supply, uint32_t class)
{
	uint32_t *event = &supply->heap->t.rings[class].event;

	HEAPD_STORE_RELEASE(event, *event + 1);
	if (ring_is_empty(supply, class))
		futex_wake_all(event);
	else
		ring_wake(supply, class);
}

void supply_refused(struct heap *heap, uint32_t class, uint64_t bytes)
{
	struct journal_event event = { .id = EVENT_LIMIT_REACHED, .heap = heap->name };
	uint64_t most;
	const char *option = heap_bound(heap, bytes, &most);

	HEAPD_COUNT(heap->t.directory->stats.refusals, 1u);
	HEAPD_PROBE(refused, heap->name, class, bytes, heap->t.directory->stats.committed);
	log_event(heap->log, &heap->refused, LOG_WARNING, &event,
		  "heap '%s': the limit is reached, and memory refused: %s are committed, and %s is %s",
		  heap->name, value_size_text(HEAPD_READ_ONCE(heap->t.directory->stats.committed)).text,
		  option, value_size_text(most).text);
	events_low(heap, clock_ns());
}

static void refuse_class(struct supply *supply, uint32_t class, uint32_t whole)
{
	struct heapd_ring *ring = &supply->heap->t.rings[class];

	HEAPD_WRITE_ONCE(ring->whole, whole);
	HEAPD_STORE_RELEASE(&ring->refused, ring->refused + 1);
	supply_refused(supply->heap, class, supply->heap->t.classes[class].slot_size);
}

static bool class_is_small(const struct supply *supply, uint32_t class)
{
	const struct heapd_class *c = &supply->heap->t.classes[class];

	return class < HEAPD_LOAD_ACQUIRE(&supply->heap->t.directory->nclasses) &&
	       HEAPD_LOAD_ACQUIRE(&c->kind) && c->slot_size;
}

/* What was taken since the last look: for the ring's target, and for how long this thread may sleep. */
static void look(struct supply *supply, uint32_t class, uint64_t now)
{
	struct supply_class *state = &supply->classes[class];
	uint64_t taken, passed = now - state->looked;

	ring_note_taken(supply, class, now);
	taken = state->taken_ever - state->taken_before;
	state->taken_before = state->taken_ever;
	state->looked = now;
	if (taken > state->worst_now)
		state->worst_now = taken;
	if (taken && state->target / 2 * passed < taken * supply->nap)
		supply->nap = state->target / 2 * passed / taken;
}

static void fill(struct supply *supply, uint32_t class, uint64_t now)
{
	if (spans_ready(&supply->spans, class) == SPAN_NONE && now - supply->last_harvest > NAP_MIN_NS)
		harvest_some(supply, now);
	ring_fill(supply, class);
}

/* The demand stands for the next round. */
static bool put_off(struct supply *supply, uint32_t class)
{
	__atomic_fetch_or(&supply->heap->t.control->demand[class / 64], 1ull << (class % 64),
			  __ATOMIC_RELAXED);
	return false;
}

/*
 * Nothing is left to be had: is a class to be refused, or is there a collection to wait for? One whole cycle that
 * began after the class ran dry has to pass. False: wait.
 */
static bool has_been_collected(struct supply *supply, uint32_t class)
{
	struct supply_class *state = &supply->classes[class];
	struct heap *heap = supply->heap;

	if (!heap->collection || !collection_is_on(heap))
		return true;
	if (!state->await)
		state->await = collection_request(heap, TRIGGER_LIMIT);
	if (HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.finished) >= state->await)
		return true;
	supply->awaiting = true;
	return false;
}

/* False: that is for the next round, which begins with the class after the one that memory was looked for. */
static bool fill_or_refuse(struct supply *supply, uint32_t class)
{
	struct supply_class *state = &supply->classes[class];
	uint32_t whole;

	if (!ring_is_empty(supply, class)) {
		state->await = 0;
		return true;
	}
	/* While a cycle is awaited, its sweep is what brings memory: fill() has tried. */
	if (supply->scraped || (state->await && !has_been_collected(supply, class)))
		return put_off(supply, class);
	supply->begin = (class + 1) % HEAPD_CLASS_MAX;
	whole = collection_whole(supply->heap);
	supply_scrape(supply, class);
	if (ring_fill(supply, class) < 0) {
		if (!has_been_collected(supply, class))
			return put_off(supply, class);
		refuse_class(supply, class, whole);
	}
	state->await = 0;
	return true;
}

/* One class: what was taken, what is wanted, and filling up. A ring that was never asked for has no target. */
static void serve(struct supply *supply, uint32_t class, bool demanded, uint64_t now)
{
	struct supply_class *state = &supply->classes[class];

	beat_count(&supply->heap->supply_beat);
	look(supply, class, now);
	if (demanded || state->target)
		state->target = clamp(target_wanted(supply, class), state->target, UINT64_MAX);
	if (demanded && ring_is_empty(supply, class))
		HEAPD_COUNT(supply->heap->t.directory->stats.rings_found_empty, 1u);
	if (demanded || state->bytes * 2 < state->target)
		fill(supply, class, now);
	if (demanded && fill_or_refuse(supply, class))
		ring_event(supply, class);
	else if (state->owed && !ring_is_empty(supply, class))
		ring_wake(supply, class);
}

/* Those of 64 classes that `which` has. Demand bits of classes that do not exist mean nothing. */
static void serve_word(struct supply *supply, uint32_t w, uint64_t which, uint64_t now)
{
	uint64_t *word = &supply->heap->t.control->demand[w], demand = 0;

	if (HEAPD_READ_ONCE(*word) & which)
		demand = __atomic_fetch_and(word, ~which, __ATOMIC_ACQUIRE);
	for (uint64_t set = (demand | supply->active[w]) & which; set; set &= set - 1) {
		uint32_t bit = (uint32_t)__builtin_ctzll(set), class = w * 64 + bit;

		if (class_is_small(supply, class))
			serve(supply, class, demand >> bit & 1, now);
	}
}

/* Serves what clients ask for, and what runs low: once around, from `begin` on. */
static void serve_all(struct supply *supply, uint64_t now)
{
	uint32_t words = HEAPD_CLASS_MAX / 64, begin = supply->begin / 64;
	uint64_t from = UINT64_MAX << (supply->begin % 64);

	supply->scraped = supply->awaiting = false;
	serve_word(supply, begin, from, now);
	for (uint32_t w = 1; w < words; w++)
		serve_word(supply, (begin + w) % words, UINT64_MAX, now);
	serve_word(supply, begin, ~from, now);
}

/* Once a second: a ring shrinks to what the last second says, and one that nobody took from by half. */
static void decay(struct supply *supply, uint32_t class, uint64_t now)
{
	struct supply_class *state = &supply->classes[class];

	ring_note_taken(supply, class, now);
	state->worst_before = state->worst_now;
	state->worst_now = 0;
	if (now - state->last_taken < SUPPLY_SECOND_NS)
		state->target = target_wanted(supply, class);
	else
		state->target = state->target / 2 < slab_bytes(supply, class) ? 0 : state->target / 2;
	ring_withdraw(supply, class, state->target);
	if (!state->target && ring_is_empty(supply, class)) {
		harvest_unused_spans(supply, class);
		supply->active[class / 64] &= ~(1ull << (class % 64));
	}
}

static void tick(struct supply *supply)
{
	uint64_t now;

	harvest_some(supply, clock_ns());
	pages_calm(&supply->pages);
	now = clock_ns(); /* after what the harvest noted as taken */
	supply->last_tick = now;
	for (uint32_t w = 0; w < HEAPD_CLASS_MAX / 64; w++)
		for (uint64_t set = supply->active[w]; set; set &= set - 1)
			decay(supply, w * 64 + (uint32_t)__builtin_ctzll(set), now);
}

static bool anything_active(const struct supply *supply)
{
	for (uint32_t w = 0; w < HEAPD_CLASS_MAX / 64; w++)
		if (supply->active[w])
			return true;
	return false;
}

void supply_look_at_pace(struct supply *supply)
{
	struct heap *heap = supply->heap;
	const struct heapd_stats *stats = &heap->t.directory->stats;
	uint64_t free = supply->ring_bytes + HEAPD_READ_ONCE(stats->stranded);

	if (!heap->collection || !collection_is_on(heap) || heap->collection->active || stats->out < free ||
	    stats->out - free < atomic_load_explicit(&heap->collection->trigger_bytes, memory_order_relaxed))
		return;
	atomic_store_explicit(&heap->collection->trigger_bytes, UINT64_MAX, memory_order_relaxed);
	collection_request(heap, TRIGGER_HEAP);
}

/* A round of work under the lock: how long to sleep afterwards. */
static uint64_t work(struct supply *supply)
{
	uint64_t now = clock_ns();
	bool busy;

	supply->nap = NAP_NS;
	/* First: a ring that is filled for somebody now is not to shrink to what the last second says before he has taken it. */
	if (now - supply->last_tick > SUPPLY_SECOND_NS)
		tick(supply);
	serve_all(supply, now);
	takers_round(supply, now);
	now = clock_ns(); /* never before a time that was noted on the way */
	busy = now - supply->last_taken < SUPPLY_SECOND_NS;
	if (busy && now - supply->last_harvest > HARVEST_NS)
		harvest_some(supply, now);
	supply_look_at_pace(supply);
	/* Who has counted something rings: of no use to anybody else, a round is for that. */
	if (!busy || now - supply->last_misfree > MISFREE_NS) {
		supply->last_misfree = now;
		misfree_count(supply);
	}
	if (takers_busy(supply))
		return NAP_MIN_NS;
	if (busy)
		return supply->nap < NAP_MIN_NS ? NAP_MIN_NS : supply->nap;
	return anything_active(supply) ? SUPPLY_SECOND_NS : SLEEP_NS;
}

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
		 how = ns <= NAP_NS ? HEAPD_BELL_NAP : HEAPD_BELL_SLEEP;

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

	if (rested < NAP_MIN_NS) { /* falling asleep and waking up, no rest */
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
	} while (more && clock_ns() - begin < NAP_NS);
	heap_unlock(heap);
}

uint64_t supply_round(struct heap *heap)
{
	uint64_t ns;

	heap_lock(heap);
	ns = work(heap->supply);
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
	ns = work(supply);
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
