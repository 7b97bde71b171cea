/* SPDX-License-Identifier: MIT */
/*
 * Directed scenarios of stores, and of a free, that come late: what one thread writes wipes out what another had written, or hides
 * what only it led to, after the thread that still holds it was scanned.
 */
#ifndef HEAPD_INJECT
#define HEAPD_INJECT /* the steps: there is nothing to see here without them */
#endif

#include <unistd.h>

#include "client/gate.h"
#include "client/place.h"
#include "client/thread.h"
#include "node.h"
#include "scene.h"

#define HARVEST_NS UINT64_C(300000000)

/* The main thread, until it was scanned in this cycle; or until that waits for the end of handshake 1 for good. */
static void await_scan(struct scene *s)
{
	const struct heapd_thread *self = heapd_self;
	uint32_t cycle = heapd_now_cycle(now_of(s)), naps = passed(s, STEP_nap);
	uint64_t end = fixture_now_ns() + SCENE_GUARD_NS;

	while (HEAPD_LOAD_ACQUIRE(&self->scanned) != cycle) {
		if (heapd_now_phase(now_of(s)) == HEAPD_PHASE_BARRIER && passed(s, STEP_nap) - naps > 10)
			return;
		if (fixture_now_ns() > end)
			miss("the thread was not scanned");
		nap();
	}
}

static void store_one(struct scene *s)
{
	struct cell *b = cell_new(s, 1);

	atomic_store(&s->other->tid, (uint32_t)gettid());
	await_flag(&s->other->go, "another thread is to store");
	heapd_store(&s->root->next, b);
	atomic_store(&s->other->done, 1);
}

static void *store_main(void *arg)
{
	store_one((struct scene *)arg);
	return NULL;
}

/* The same from a process that attaches when it is told to. */
int newcomers_unseen_other(void *arg)
{
	struct scene *s = (struct scene *)arg;

	await_flag(&s->other->go, "another process is to attach");
	must(heapd_attach(&s->heap, FIXTURE_HEAP, NULL));
	shapes_define(s);
	store_one(s);
	must(heapd_detach(s->heap));
	return 0;
}

static __attribute__((noinline)) void store_unlogged(struct scene *s, uintptr_t disguised)
{
	HEAPD_STORE_RELEASE((uintptr_t *)(void *)(uintptr_t)&s->root->next, ~disguised);
}

/* To the end of its store, and of the collection; then what this thread has read must live. */
static void late_store_ends(struct scene *s)
{
	struct cell *volatile held;

	await_scan(s);
	held = heapd_load(&s->root->next);
	if (held->id != SCENE_ID)
		miss("the other one has stored already");
	release(s, STEP_store);
	await_flag(&s->other->done, "the store ends");
	collect_end(s);
	check_alive(s, held);
}

/*
 * This thread's store begins with its barrier off, and ends while the other's, which began with its barrier on, is under way. So
 * what it stored is wiped out by one who never saw it; in between, and scanned by then, this thread reads it.
 */
static void wiped_out(struct scene *s, bool newcomer)
{
	uintptr_t disguised = cell_hidden(s, false);
	pthread_t thread;

	if (!newcomer) {
		if (pthread_create(&thread, NULL, store_main, s))
			miss("no thread");
		await_flag(&s->other->tid, "a thread attaches");
	}
	stack_wipe();
	uint64_t inside = heapd_gate_enter_(heapd_gate_);
	if (heapd_gate_on_(heapd_gate_))
		miss("the barrier is on");
	want(s, STEP_nap, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_nap);
	want(s, STEP_store, STEP_ANYBODY);
	atomic_store(&s->other->go, 1);
	await(s, STEP_store);
	store_unlogged(s, disguised);
	stack_wipe();
	heapd_gate_leave_(heapd_gate_, inside);
	release(s, STEP_nap);
	late_store_ends(s);
	if (!newcomer)
		pthread_join(thread, NULL);
}

void one_round(struct scene *s)
{
	wiped_out(s, false);
}

void newcomers_unseen(struct scene *s)
{
	wiped_out(s, true);
}

/* What the other's store removes was logged before handshake 1 ended, and is removed after this thread's scan. */
void rings_emptied_late(struct scene *s)
{
	pthread_t thread;

	cell_hidden(s, true);
	if (pthread_create(&thread, NULL, store_main, s))
		miss("no thread");
	await_flag(&s->other->tid, "a thread attaches");
	stack_wipe();
	want(s, STEP_barriers_up, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_barriers_up);
	want(s, STEP_store, STEP_ANYBODY);
	atomic_store(&s->other->go, 1);
	await(s, STEP_store);
	release(s, STEP_barriers_up);
	late_store_ends(s);
	pthread_join(thread, NULL);
}

static __attribute__((noinline)) void store_logged(struct scene *s, uintptr_t disguised)
{
	heapd_store(&s->root->next, (struct cell *)~disguised);
}

/*
 * This thread stores before its scan, over nothing, and reads it back after; in between the other has begun its store, over nothing,
 * too, and ends it then. So what this thread stored was removed by nobody: only that it was added tells of it.
 */
void no_insertion_shade(struct scene *s)
{
	uintptr_t disguised = cell_hidden(s, false);
	pthread_t thread;

	if (pthread_create(&thread, NULL, store_main, s))
		miss("no thread");
	await_flag(&s->other->tid, "a thread attaches");
	stack_wipe();
	want(s, STEP_gathered, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_gathered);
	want(s, STEP_store, STEP_ANYBODY);
	atomic_store(&s->other->go, 1);
	await(s, STEP_store);
	store_logged(s, disguised);
	stack_wipe();
	release(s, STEP_gathered);
	late_store_ends(s);
	pthread_join(thread, NULL);
}

/* This thread was scanned, and takes an object out of the root before the marker has come there: its ring alone tells of it. */
void no_last_pass(struct scene *s)
{
	struct cell *volatile held;

	cell_hidden(s, true);
	stack_wipe();
	want(s, STEP_marking, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_marking);
	held = heapd_exchange(&s->root->next, (struct cell *)NULL);
	release(s, STEP_marking);
	collect_end(s);
	check_alive(s, held);
}

/* o, behind the root, leads to an object that nothing else knows. It stands where the current slab is another by now. */
static __attribute__((noinline)) void chain_hide(struct scene *s)
{
	struct cell *o = cell_new(s, 0), *x;

	cell_hidden(s, true); /* the one with SCENE_ID */
	x = heapd_load(&s->root->next);
	heapd_init(&o->next, x);
	heapd_store(&s->root->next, o);
	current_change(s);
}

/* Until that slot is given out again, which clears it, or it is plain that it will not be in this cycle. */
static __attribute__((noinline)) void take_again(struct scene *s, uintptr_t disguised)
{
	for (unsigned i = 0; i < SCENE_MANY; i++)
		if ((uintptr_t)cell_new(s, 0) == ~disguised)
			return;
}

/*
 * This thread was scanned, and the collector stands at the step. Now x is taken out of o, and o, which the barrier has logged, is freed:
 * o is still what leads the marker to x. It is cleared as soon as somebody has it again.
 */
static void freed_and_taken_again(struct scene *s, enum heapd_step step)
{
	struct cell *o = heapd_load(&s->root->next);
	struct cell *volatile held = heapd_load(&o->next);
	uintptr_t disguised;

	heapd_store(&s->root->next, (struct cell *)NULL);
	must(heapd_free(o));
	disguised = ~(uintptr_t)o;
	take_again(s, disguised);
	release(s, step);
	collect_end(s);
	check_alive(s, held);
}

void push_in_cycle(struct scene *s)
{
	pin_to_first();
	must(heapd_collect(s->heap)); /* so that none begins by itself now */
	chain_hide(s);
	stack_wipe();
	want(s, STEP_scanned, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_scanned);
	freed_and_taken_again(s, STEP_scanned);
}

/* Until the daemon has taken the free slot out of its slab's word; or long enough for it. */
static void await_harvest(struct scene *s, const struct place *at)
{
	for (uint64_t end = fixture_now_ns() + HARVEST_NS; fixture_now_ns() < end; nap())
		if (!(HEAPD_LOAD_ACQUIRE(&s->heap->t.freed[at->slab]) >> at->bit & 1))
			return;
}

/* As above; but the current slab is another, so what is freed stands in its slab's word, where the daemon finds it. */
void harvest_in_cycle(struct scene *s)
{
	struct cell *o;
	struct cell *volatile held;
	struct place at;

	pin_to_first();
	must(heapd_collect(s->heap));
	chain_hide(s);
	stack_wipe();
	want(s, STEP_scanned, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_scanned);
	o = heapd_load(&s->root->next);
	held = heapd_load(&o->next);
	heapd_store(&s->root->next, (struct cell *)NULL);
	if (!place_find(s->heap, o, &at))
		miss("the cell lies nowhere");
	must(heapd_free(o));
	await_harvest(s, &at);
	take_again(s, ~(uintptr_t)o);
	release(s, STEP_scanned);
	collect_end(s);
	check_alive(s, held);
}

/* Until this thread has a slot of the slab that the root's next cell lies in; or all that there were. */
static __attribute__((noinline)) void slab_take(struct scene *s)
{
	struct place there, here;

	if (!place_find(s->heap, heapd_load(&s->root->next), &there))
		miss("the cell lies nowhere");
	for (unsigned i = 0; i < 3 * SCENE_MANY; i++)
		if (place_find(s->heap, cell_new(s, 0), &here) && here.slab == there.slab)
			return;
	miss("no slot of the slab was to be had");
}

/* The slab of o, whose other slots a cycle has taken back, is taken from the ring while the marker works: all of it but o is new. */
void newborn_by_slab(struct scene *s)
{
	pin_to_first();
	chain_hide(s);
	stack_wipe();
	must(heapd_collect(s->heap));
	stack_wipe();
	want(s, STEP_marking, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_marking);
	slab_take(s);
	freed_and_taken_again(s, STEP_marking);
}

static uint64_t slabs_taken(const struct scene *s)
{
	uint64_t taken = 0;

	for (uint64_t cpu = 0; cpu < s->heap->t.cpus; cpu++)
		taken += HEAPD_READ_ONCE(s->heap->t.counters[cpu].taken_slabs);
	return taken;
}

/* Who allocates and frees while the marker works needs no fresh slab for it: the slabs that it has do. */
void newborns_reused(struct scene *s)
{
	uint64_t taken;

	pin_to_first();
	must(heapd_collect(s->heap));
	want(s, STEP_marking, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_marking);
	taken = slabs_taken(s);
	for (unsigned i = 0; i < SCENE_MANY; i++)
		must(heapd_free(cell_new(s, 0)));
	taken = slabs_taken(s) - taken;
	if (taken > SCENE_MANY / 64 / 4)
		fail("%lu slabs were taken for what is freed at once", (unsigned long)taken);
	release(s, STEP_marking);
	collect_end(s);
}

static __attribute__((noinline)) void chain_hide_with(struct scene *s, uintptr_t disguised)
{
	struct cell *o = cell_new(s, 0);

	heapd_init(&o->next, (struct cell *)~disguised);
	heapd_store(&s->root->next, o);
}

/* o is made in the cycle, of a slab that was taken in it, but before this thread was scanned: x, too, is known by o alone then. */
void newborn_early(struct scene *s)
{
	uintptr_t disguised;

	pin_to_first();
	must(heapd_collect(s->heap));
	disguised = cell_hidden(s, false);
	stack_wipe();
	want(s, STEP_gathered, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_gathered);
	current_change(s);
	chain_hide_with(s, disguised);
	stack_wipe();
	want(s, STEP_scanned, STEP_ANYBODY);
	release(s, STEP_gathered);
	await(s, STEP_scanned);
	freed_and_taken_again(s, STEP_scanned);
}
