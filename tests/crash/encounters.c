/* SPDX-License-Identifier: MIT */
/*
 * encounters.c - owns the operations in which another thread comes between: while one stands before a swap of the library's (meeting.h) the
 * other does what makes it fail, or finds what it has begun.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "../fixture.h"
#include "conditions.h"
#include "heapd/atomic.h"
#include "heapd/session.h"
#include "meeting.h"
#include "weather.h"

/* Both on one processor: what is current there is both's. */
static void stay(const struct scene *s)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(s->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Allocating and freeing ------------------------------------------------------------------------------------------------ */

static void prepare_slab(struct scene *s)
{
	stay(s);
	for (unsigned i = 0; i < 16; i++)
		s->others[i] = heapd_alloc(s->heap, 48);
}

static void alloc48(struct scene *s)
{
	use(heapd_alloc(s->heap, 48));
}

static void free_first(struct scene *s)
{
	sink += (uint64_t)heapd_free(s->others[0]);
	sink += (uint64_t)heapd_free(s->others[1]);
}

static void free_another(struct scene *s)
{
	unsigned i = 2;

	while (i < 15 && !s->others[i])
		i++;
	sink += (uint64_t)heapd_free(s->others[i]);
	s->others[i] = NULL;
}

/* The slab that it was going to is gone. */
static void alloc_rest(struct scene *s)
{
	for (unsigned i = 0; i < 70; i++)
		use(heapd_alloc(s->heap, 48));
}

static void prepare_drained(struct scene *s)
{
	stay(s);
	drain(s, 48);
}

static void prepare_ring(struct scene *s)
{
	stay(s);
	drain_spares(s);
}

static void prepare_one(struct scene *s)
{
	stay(s);
	s->others[0] = heapd_alloc(s->heap, 48);
	s->others[1] = heapd_alloc(s->heap, 48);
}

static void free_one_first(struct scene *s)
{
	sink += (uint64_t)heapd_free(s->others[0]);
}

/* Past its end, which whoever frees it says. */
static void free_overwritten(struct scene *s)
{
	((uint64_t *)s->others[0])[7] = 1;
	sink += (uint64_t)heapd_free(s->others[0]);
}

static void free_wild(struct scene *s)
{
	for (unsigned i = 0; i < 4; i++) {
		sink += (uint64_t)heapd_free((char *)s->object + 3);
		scene_pass(UINT64_C(2000000));
	}
}

static void free_wild_once(struct scene *s)
{
	sink += (uint64_t)heapd_free((char *)s->object + 3);
}

/* Freed by both, from another processor than its slab is current on. */
static void free_far(struct scene *s)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(!s->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	sink += (uint64_t)heapd_free(s->others[0]);
}

static void weak_one(struct scene *s)
{
	use(heapd_weak_get(s->weak, struct node));
}

static void prepare_slabs(struct scene *s)
{
	static void *kept[1200];

	stay(s);
	for (unsigned i = 0; i < 1200; i++)
		kept[i] = heapd_alloc(s->heap, i % 2 ? 80 : 208);
	s->arena = (heapd_arena *)(void *)kept;
}

static void free_scattered(struct scene *s)
{
	void **kept = (void **)(void *)s->arena;

	for (unsigned i = 0; i < 1200; i++)
		sink += (uint64_t)heapd_free(kept[(i * 263ul) % 1200]);
}

static void free_in_turn(struct scene *s)
{
	void **kept = (void **)(void *)s->arena;

	for (unsigned way = 0; way < 2; way++)
		for (unsigned i = way; i < 1200; i += 2)
			sink += (uint64_t)heapd_free(kept[i]);
}

/* To another processor. */
static void move_first(struct scene *s)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(!s->cpu, &set);
	sched_setaffinity(getpid(), sizeof(set), &set);
}

/* Somebody looks at what takes long, and does so no more when it is over. */
static void prepare_looked_at(struct scene *s)
{
	(void)s;
	probes_on();
}

static void alloc_looked_at(struct scene *s)
{
	for (unsigned i = 0; i < 6000; i++)
		use(heapd_alloc(s->heap, 5000));
}

static void look_away(struct scene *s)
{
	(void)s;
	probes_set(0);
}

/* Fields ------------------------------------------------------------------------------------------------------------------ */

static void exchange_one(struct scene *s)
{
	use(heapd_exchange_sym((void *)(uintptr_t) & ((struct node *)s->others[0])->next, s->object));
}

static void store_other(struct scene *s)
{
	heapd_store_sym((void *)(uintptr_t) & ((struct node *)s->others[0])->next, s->stage->node[3]);
}

/* This thread's barrier was on for a cycle that is over; the next one begins as it finds that. */
static void stale_store(struct scene *s)
{
	corner_barrier(s);
	heapd_store_sym((void *)(uintptr_t) & ((struct node *)s->others[0])->next, s->object);
}

static void stale_exchange(struct scene *s)
{
	corner_barrier(s);
	exchange_one(s);
}

static void stale_compare(struct scene *s)
{
	void *seen = NULL;

	corner_barrier(s);
	sink += heapd_cas_sym((void *)(uintptr_t) & ((struct node *)s->others[0])->next, &seen, s->object);
}

static void stale_zero(struct scene *s)
{
	corner_barrier(s);
	heapd_zero_sym((void *)(uintptr_t) & ((struct node *)s->others[0])->next, 2);
}

static void stale_free(struct scene *s)
{
	corner_barrier(s);
	sink += (uint64_t)heapd_free(s->others[2]);
}

static void stale_weak(struct scene *s)
{
	corner_barrier(s);
	use(heapd_weak_get(s->weak, struct node));
}

static void prepare_stale(struct scene *s)
{
	prepare_fields(s);
	s->weak = heapd_weak_new(s->heap, s->object);
	s->others[2] = heapd_alloc(s->heap, 1024);
}

static void cycle_begins(struct scene *s)
{
	sink += (uint64_t)heapd_collect_start(s->heap);
	scene_pass(UINT64_C(20000000));
}

/* As nobody leaves it: off, for who has just seen that it is on. */
static void barrier_off(struct scene *s)
{
	struct heapd_thread *t = s->others[20];
	uint32_t on = HEAPD_READ_ONCE(t->gate.on);

	(void)__atomic_compare_exchange_n(&t->gate.on, &on, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void prepare_stale_off(struct scene *s)
{
	prepare_stale(s);
	s->others[20] = record_here();
}

/* A root that another one makes first. */
static void root_first(struct scene *s)
{
	sink += (uint64_t)heapd_root_set(s->heap, "made 3", NULL);
	use(heapd_root(s->heap, "made 3", struct node, s->nodes));
}

static void root_other(struct scene *s)
{
	sink += (uint64_t)heapd_root_set(s->heap, "made 3", s->others[1]);
}

/* Pins, types, what is to be told ------------------------------------------------------------------------------------------ */

static void prepare_pins_free(struct scene *s)
{
	prepare_fields(s);
	for (unsigned i = 8; i < 16; i++)
		s->others[i] = heapd_pin(s->heap, (struct node *)s->object);
	for (unsigned i = 8; i < 12; i++)
		sink += (uint64_t)heapd_unpin(s->others[i]);
}

static void pin_one(struct scene *s)
{
	use(heapd_pin(s->heap, (struct node *)s->object));
}

static void unpin_one(struct scene *s)
{
	sink += (uint64_t)heapd_unpin(s->others[12]);
}

static void unpin_other(struct scene *s)
{
	sink += (uint64_t)heapd_unpin(s->others[13]);
}

static void prepare_type_unmet(struct scene *s)
{
	attach_other(s, FIXTURE_HEAP, 0);
	s->object = s->stage->node[5];
}

static void type_ask(struct scene *s)
{
	use(heapd_type_of(s->object));
}

/* Scans ---------------------------------------------------------------------------------------------------------------------- */

static bool is_met(const struct scene *s)
{
	uint64_t end = fixture_now_ns() + UINT64_C(200000000);

	while (s->board->meeting == MEETING_READY && fixture_now_ns() < end)
		usleep(50);
	return s->board->meeting == MEETING_ASKED;
}

/* The agent has come to this thread, or reads its stack. */
static void go_offline(struct scene *s)
{
	heapd_thread_offline(s->heap);
	sink += (uint64_t)heapd_collect_start(s->heap);
	sink += is_met(s);
}

static void scanned_online(struct scene *s)
{
	go_offline(s);
	heapd_thread_online(s->heap);
}

static void scanned_detach(struct scene *s)
{
	go_offline(s);
	heapd_thread_detach(s->heap);
}

static void scanned_leave(struct scene *s)
{
	go_offline(s);
	heapd_detach(s->heap);
}

static void *be_scanned(void *scene)
{
	struct scene *s = scene;

	heapd_thread_attach(s->heap);
	go_offline(s);
	return NULL;
}

/* It ends while its stack is read. */
static void scanned_end(struct scene *s)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, be_scanned, s) == 0)
		pthread_join(thread, NULL);
}

static void pass_a_while(struct scene *s)
{
	(void)s;
	scene_pass(UINT64_C(30000000));
}

#define MEETING(name_, prepare_, run_, met_, meanwhile_, barriers_)                         \
	{                                                                                   \
		.name = "meet-" name_, .prepare = (prepare_), .run = (run_), .met = (met_), \
		.meanwhile = (meanwhile_), .barriers = (barriers_)                          \
	}
#define READS "stack_words_add_thread"

const struct operation encounters[] = {
	MEETING("pop", prepare_slab, alloc48, "current_pop_cas", alloc48, ONCE),
	MEETING("pop-rest", prepare_slab, alloc48, "current_pop_cas", alloc_rest, ONCE),
	MEETING("push", prepare_slab, free_first, "current_push_cas", free_another, ONCE),
	MEETING("push-rest", prepare_slab, free_first, "current_push_cas", alloc_rest, ONCE),
	MEETING("push-twice", prepare_slab, free_one_first, "current_push_cas", free_one_first, ONCE),
	MEETING("install", prepare_drained, alloc48, "current_install_cas", alloc48, ONCE),
	MEETING("ring", prepare_ring, alloc4096, "refill_pop", alloc4096, ONCE),
	MEETING("claim", prepare_one, free_one_first, "hardened_claim", free_one_first, ONCE),
	{ .name = "meet-check",
	  .prepare = prepare_one,
	  .run = free_overwritten,
	  .met = "hardened_check",
	  .meanwhile = free_one_first,
	  .barriers = ONCE,
	  .spoils = true },
	MEETING("free-far", prepare_one, free_far, "free_end()", free_far, ONCE),
	MEETING("free-scattered", prepare_slabs, free_scattered, "collecting_flush()", move_first, ONCE),
	MEETING("free-in-turn", prepare_slabs, free_in_turn, "collecting_flush()", move_first, ONCE),
	MEETING("free-begin", prepare_slabs, free_in_turn, "collecting_begin()", move_first, ONCE),
	MEETING("free-seen", prepare_one, free_one_first, "barrier_on()", free_far, ONCE),
	MEETING("weak", prepare_weak_scanned, weak_one, "heapd_weak_get_sym", weak_one, ONCE),
	MEETING("looked-away", prepare_looked_at, alloc_looked_at, "slow_end()", look_away, ONCE),
	MEETING("bell", prepare_fields, free_wild, "bell_wake", free_wild_once, ONCE),
	MEETING("exchange", prepare_fields, exchange_one, "heapd_exchange_sym", store_other, ALL),
	MEETING("stale-store", prepare_stale, stale_store, "heapd_store_sym", cycle_begins, ONCE),
	MEETING("stale-exchange", prepare_stale, stale_exchange, "heapd_exchange_sym", cycle_begins, ONCE),
	MEETING("stale-cas", prepare_stale, stale_compare, "heapd_cas_sym", cycle_begins, ONCE),
	MEETING("stale-zero", prepare_stale, stale_zero, "words_write", cycle_begins, ONCE),
	MEETING("stale-free", prepare_stale, stale_free, "barrier_on", cycle_begins, ONCE),
	MEETING("stale-weak", prepare_stale, stale_weak, "barrier_begin", cycle_begins, ONCE),
	MEETING("off-store", prepare_stale_off, stale_store, "heapd_store_sym", barrier_off, ONCE),
	MEETING("off-exchange", prepare_stale_off, stale_exchange, "heapd_exchange_sym", barrier_off, ONCE),
	MEETING("off-cas", prepare_stale_off, stale_compare, "heapd_cas_sym", barrier_off, ONCE),
	MEETING("off-zero", prepare_stale_off, stale_zero, "words_write", barrier_off, ONCE),
	MEETING("off-free", prepare_stale_off, stale_free, "barrier_on", barrier_off, ONCE),
	MEETING("off-weak", prepare_stale_off, stale_weak, "barrier_begin", barrier_off, ONCE),
	MEETING("root", prepare_fields, root_first, "heapd_root_offer()", root_other, ONCE),
	MEETING("pin", prepare_pins_free, pin_one, "heapd_pin_sym", pin_one, ONCE),
	MEETING("unpin", prepare_pins_free, unpin_one, "pin_end", unpin_one, ONCE),
	MEETING("unpin-other", prepare_pins_free, unpin_one, "pin_clear", unpin_other, ONCE),
	MEETING("type", prepare_type_unmet, type_ask, "type_by_index", type_ask, ONCE),
	MEETING("serve", prepare_fields, scanned_online, "handshake_serve", pass_a_while, ONCE),
	MEETING("scan-online", prepare_fields, scanned_online, READS, pass_a_while, ONCE),
	MEETING("scan-detach", prepare_fields, scanned_detach, READS, pass_a_while, ONCE),
	MEETING("scan-leave", prepare_fields, scanned_leave, READS, pass_a_while, ONCE),
	MEETING("scan-end", prepare_fields, scanned_end, READS, pass_a_while, ONCE),
	{ 0 },
};
