/* SPDX-License-Identifier: MIT */
/*
 * Directed scenarios of processes whose own threads say nothing (any more) of what they hold: one dies in the midst of a cycle, one has
 * just been forked.
 */
#include <signal.h>
#include <unistd.h>

#include "client/client.h"
#include "client/thread.h"
#include "node.h"
#include "scene.h"

enum { MORTAL_STORED = 1, MORTAL_CLEARS, MORTAL_CLEARED };

static void await_value(_Atomic uint32_t *flag, uint32_t value, const char *what)
{
	uint64_t end = fixture_now_ns() + SCENE_GUARD_NS;

	for (; atomic_load(flag) != value; nap())
		if (fixture_now_ns() > end)
			miss(what);
}

/* The calling thread, in the cycle that is under way or will be. */
static void await_scanned(struct scene *s)
{
	uint64_t end = fixture_now_ns() + SCENE_GUARD_NS, now = now_of(s);

	while (heapd_now_phase(now) != HEAPD_PHASE_SCAN ||
	       HEAPD_LOAD_ACQUIRE(&heapd_self->scanned) != heapd_now_cycle(now)) {
		if (fixture_now_ns() > end)
			miss("the thread was not scanned");
		nap();
		now = now_of(s);
	}
}

/* It alone holds the cell, was scanned with it, and lends it to whoever was scanned before. */
int dead_forgotten_other(void *arg)
{
	struct scene *s = (struct scene *)arg;
	struct cell *volatile held;

	await_flag(&s->other->go, "another process is to attach");
	must(heapd_attach(&s->heap, FIXTURE_HEAP, NULL));
	shapes_define(s);
	held = cell_new(s, SCENE_ID);
	current_change(s);
	atomic_store(&s->other->tid, (uint32_t)gettid());
	await_scanned(s);
	heapd_store(&s->root->next, held);
	atomic_store(&s->other->done, MORTAL_STORED);
	await_value(&s->other->done, MORTAL_CLEARS, "the cell was read");
	heapd_store(&s->root->next, (struct cell *)NULL);
	atomic_store(&s->other->done, MORTAL_CLEARED);
	for (;;)
		pause();
}

/* A thread in the midst of an operation holds up the scan. */
static void *dawdle(void *arg)
{
	struct scene *s = (struct scene *)arg;
	struct cell *own = cell_new(s, 0);

	atomic_store(&s->ready, true);
	while (!atomic_load(&s->enough))
		nap();
	heapd_store(&own->next, (struct cell *)NULL);
	return NULL;
}

static void kill_other(struct scene *s)
{
	const uint64_t *deaths = &s->heap->t.directory->stats.deaths;
	uint64_t before = HEAPD_READ_ONCE(*deaths), end = fixture_now_ns() + SCENE_GUARD_NS;

	kill(s->other_pid, SIGKILL);
	fixture_wait(s->other_pid, -SIGKILL);
	s->other_pid = 0;
	for (; HEAPD_READ_ONCE(*deaths) == before; nap())
		if (fixture_now_ns() > end)
			miss("the daemon saw nobody die");
}

/*
 * This thread was scanned, and reads then what the other process lends it, which was scanned, too, and dies before the scan is over: only
 * what the dead one published, and logged as it took the cell back, tells of the cell. The daemon, which looks into barrier rings as it
 * waits, stands still from before that until the other is dead.
 */
void dead_forgotten(struct scene *s)
{
	struct cell *volatile held;
	pthread_t thread;

	atomic_store(&s->other->go, 1);
	await_flag(&s->other->tid, "another process attaches");
	if (pthread_create(&thread, NULL, dawdle, s))
		miss("no thread");
	while (!atomic_load(&s->ready))
		nap();
	want(s, STEP_gathered, STEP_ANYBODY);
	collect_begin(s);
	await(s, STEP_gathered);
	want(s, STEP_store, STEP_ANYBODY);
	atomic_store(&s->enough, true);
	await(s, STEP_store);
	release(s, STEP_gathered);
	await_scanned(s);
	await_value(&s->other->done, MORTAL_STORED, "the other process stores");
	held = heapd_load(&s->root->next);
	want(s, STEP_nap, STEP_ANYBODY);
	await(s, STEP_nap);
	atomic_store(&s->other->done, MORTAL_CLEARS);
	await_value(&s->other->done, MORTAL_CLEARED, "the other process takes it back");
	kill_other(s);
	release(s, STEP_store);
	release(s, STEP_nap);
	collect_end(s);
	check_alive(s, held);
	pthread_join(thread, NULL);
}

/* NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): handlers of fork() are given nothing */
static struct scene *forked_in;

static void child_waits(void)
{
	if (forked_in)
		await_flag(&forked_in->other->go, "the child goes on");
}

/* The child stands still before the library's own handler has run. */
void standing_ignored_before(struct scene *s)
{
	(void)s;
	if (pthread_atfork(NULL, NULL, child_waits))
		miss("no handlers of fork()");
}

static __attribute__((noinline)) pid_t fork_holding(struct scene *s, uintptr_t disguised)
{
	struct cell *volatile held = (struct cell *)~disguised;
	pid_t pid = fork();

	if (pid == 0) {
		check_alive(s, held);
		_exit(0);
	}
	if (pid < 0)
		miss("no process");
	held = NULL;
	return pid;
}

/* The child holds what its parent held, and has not come up; the parent holds it no more. */
void standing_ignored(struct scene *s)
{
	uintptr_t disguised = cell_hidden(s, false);
	pid_t pid;

	current_change(s);
	forked_in = s;
	pid = fork_holding(s, disguised);
	forked_in = NULL;
	stack_wipe();
	must(heapd_collect(s->heap));
	atomic_store(&s->other->go, 1);
	fixture_wait(pid, 0);
}
