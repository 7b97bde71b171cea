/* SPDX-License-Identifier: MIT */
/*
 * Owns one round of supply: how full each ring is kept, who is waited for and who is refused. All of it is done under heap->lock, by the supplier's
 * thread (supplier.c) or by who does its work in its place.
 *
 * How full a ring is kept: twice the most that was taken from it between two looks of the last second. So a
 * ring that is found empty doubles by itself, and one that is not stays small: slots come back in the order
 * in which they were freed, so a ring is as much memory as allocation walks through, and what exceeds a cache
 * is paid for with every object. The nap between two looks is as long as half a ring lasts at the rate of the
 * last one; and no longer than a millisecond, or four where what is taken in them fits a part of a cache: each end of a nap
 * interrupts somebody. A second in which nothing is taken halves the ring.
 *
 * A class that runs dry at the limit is refused only when a whole collection has passed since: until then its demand
 * stands, and its clients wait. That is how supply slows those who outrun the marker.
 *
 * What clients can make it do is bounded: a round looks for memory once at most, and puts off what needs it again.
 */
#include "ahead.h"
#include "clock.h"
#include "collection.h"
#include "events.h"
#include "heapd/probes.h"
#include "misfree.h"
#include "supply.h"
#include "takers.h"

#define SLEEP_NS   10000000000u  /* while nothing is taken */
#define HARVEST_NS 200000u       /* between harvests while napping: what was freed last is still in a cache */
#define MISFREE_NS 10000000u     /* between looks at what clients count, while busy */
#define CALM_BYTES (64ull << 10) /* a part of any cache: rings may grow so far for the sake of longer naps */
#define OWED_NS    100000u       /* between looks while somebody waits for what there is */

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
	supply->taken += taken;
	if (taken && state->target / 2 * passed < taken * supply->nap)
		supply->nap = state->target / 2 * passed / taken;
}

static void fill(struct supply *supply, uint32_t class, uint64_t now)
{
	if (spans_ready(&supply->spans, class) == SPAN_NONE && now - supply->last_harvest > SUPPLY_NAP_MIN_NS)
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

/* A nap is longer than usual as long as little is taken meanwhile, of all classes together: all their rings grow by it. */
static void nap_limit(struct supply *supply, uint64_t now)
{
	uint64_t passed = now - supply->looked;

	supply->looked = now;
	if (supply->taken)
		supply->nap =
			clamp(supply->nap, 0,
			      clamp(CALM_BYTES * passed / supply->taken, SUPPLY_NAP_NS, SUPPLY_NAP_CALM_NS));
}

uint64_t supply_serve(struct supply *supply)
{
	uint64_t now = clock_ns();
	bool busy;

	supply->nap = SUPPLY_NAP_CALM_NS;
	supply->taken = 0;
	/* First: a ring that is filled for somebody now is not to shrink to what the last second says before he has taken it. */
	if (now - supply->last_tick > SUPPLY_SECOND_NS)
		tick(supply);
	serve_all(supply, now);
	nap_limit(supply, now);
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
		return SUPPLY_NAP_MIN_NS;
	if (busy)
		return supply->nap < SUPPLY_NAP_MIN_NS ? SUPPLY_NAP_MIN_NS : supply->nap;
	return anything_active(supply) ? SUPPLY_SECOND_NS : SLEEP_NS;
}
