/* SPDX-License-Identifier: MIT */
/*
 * Scenarios for rules of the collector that matter only when several threads stand at one instruction each: directed [NAME...].
 * Each is named after the mutant that leaves the rule out (heapd/mutant.h). With the rule, all is well in the end; without it an
 * object that is held is taken back, a slot is in two places, or the daemon meets what it cannot explain. The threads are stopped
 * at steps (heapd/step.h), so each meets its moment the first time.
 *
 * The main thread is the one that holds or takes; another conducts, and never touches the heap. Exit status: 0; 1: said what; 2: a moment was
 * not met, and nothing is known.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/client.h"
#include "client/gate.h"
#include "client/thread.h"
#include "heapd/step.h"
#include "node.h"
#include "tests/fixture.h"

#define GUARD_NS UINT64_C(30000000000)
#define ID       UINT64_C(0x1dea)
#define MANY     20000u

struct cell {
	uint64_t id;
	heapd_ptr(struct cell) next;
	uint64_t pad[6];
};

struct scene {
	struct fixture fixture;
	struct heapd_steps *steps;
	heapd_heap *heap;
	heapd_type *cells;
	struct cell *root;
	pthread_t collector, conductor;
	uint32_t main_tid;
	/* What another thread or process is told. */
	struct {
		_Atomic uint32_t go, tid, done;
	} * other;
	_Atomic bool ready, enough, passed;
};

static __attribute__((noreturn, format(printf, 1, 2))) void fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("FAILED: ");
	vprintf(fmt, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
	_exit(1);
}

/* The moment was not met, whoever is to blame. */
static __attribute__((noreturn)) void miss(const char *what)
{
	printf("MISSED: %s\n", what);
	fflush(stdout);
	_exit(2);
}

static void must(int r)
{
	if (r < 0)
		fail("%s", heapd_error());
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

static void await_flag(_Atomic uint32_t *flag, const char *what)
{
	uint64_t end = fixture_now_ns() + GUARD_NS;

	while (!atomic_load(flag)) {
		if (fixture_now_ns() > end)
			miss(what);
		nap();
	}
}

/* Steps ----------------------------------------------------------------------------------------------------------- */

static void want(struct scene *s, enum heapd_step step, uint32_t who)
{
	__atomic_store_n(&s->steps->words[step].wanted, who, __ATOMIC_SEQ_CST);
}

/* Who stands there. */
static uint32_t await(struct scene *s, enum heapd_step step)
{
	static const char *const names[] = {
#define STEP_NAME(name) #name,
		HEAPD_STEPS(STEP_NAME)
	};
	uint64_t end = fixture_now_ns() + GUARD_NS;
	uint32_t who;

	while (!(who = __atomic_load_n(&s->steps->words[step].stopped, __ATOMIC_SEQ_CST))) {
		if (fixture_now_ns() > end)
			miss(names[step]);
		nap();
	}
	return who;
}

static void release(struct scene *s, enum heapd_step step)
{
	__atomic_store_n(&s->steps->words[step].stopped, 0, __ATOMIC_SEQ_CST);
}

static uint32_t passed(const struct scene *s, enum heapd_step step)
{
	return __atomic_load_n(&s->steps->words[step].passed, __ATOMIC_SEQ_CST);
}

static uint64_t now_of(const struct scene *s)
{
	return HEAPD_LOAD_ACQUIRE(&s->heap->t.directory->cycle.now);
}

/* Heap ------------------------------------------------------------------------------------------------------------ */

static void *collect_main(void *arg)
{
	struct scene *s = (struct scene *)arg;

	must(heapd_collect(s->heap));
	return NULL;
}

static void collect_begin(struct scene *s)
{
	if (pthread_create(&s->collector, NULL, collect_main, s))
		miss("no thread");
}

static void collect_end(struct scene *s)
{
	pthread_join(s->collector, NULL);
}

static void shapes_define(struct scene *s)
{
	s->cells = heapd_type_define(s->heap, "cell", struct cell, next);
	s->root = s->cells ? heapd_root(s->heap, "root", struct cell, s->cells) : NULL;
	if (!s->root)
		fail("%s", heapd_error());
}

static __attribute__((noinline)) struct cell *cell_new(struct scene *s, uint64_t id)
{
	struct cell *c = heapd_new(s->cells, struct cell);

	if (!c)
		fail("%s", heapd_error());
	c->id = id;
	return c;
}

/*
 * Of one that nobody but the caller's word knows, which no scan takes for a pointer. Its neighbours are nobody's: the
 * address of the next one is one past its end.
 */
static __attribute__((noinline)) uintptr_t cell_hidden(struct scene *s, bool in_root)
{
	struct cell *c;

	cell_new(s, 0);
	c = cell_new(s, ID);
	cell_new(s, 0);
	if (in_root)
		heapd_store(&s->root->next, c);
	return ~(uintptr_t)c;
}

static bool is_out(const struct scene *s, const void *p)
{
	const struct heapd_tables *t = &s->heap->t;
	uint64_t offset = (uint64_t)(uintptr_t)p - t->base;
	uint32_t first = t->page_span[offset >> HEAPD_PAGE_SHIFT];
	const struct heapd_span *span = &t->spans[first - 1];

	if (!first)
		return false;
	offset = (offset - ((uint64_t)(first - 1) << HEAPD_PAGE_SHIFT)) / span->elemsize;
	return t->out[span->slab0 + offset / span->slab_slots] >> offset % span->slab_slots & 1;
}

/* What was taken back is the ledger's, or another's by now. */
static void check_alive(struct scene *s, const struct cell *c)
{
	if (!is_out(s, c))
		fail("an object that is held was taken back");
	for (unsigned i = 0; i < MANY; i++)
		cell_new(s, 0);
	if (c->id != ID)
		fail("an object that is held was taken back");
}

static void check_clean(struct scene *s)
{
	if (fixture_verify_strictly(&s->fixture, FIXTURE_HEAP) != 0)
		fail("the heap is not clean");
	if (s->heap->t.directory->stats.corrupt)
		fail("the daemon met what makes no sense, and all clients kept the rules");
}

/* The main thread, until it was scanned in this cycle; or until that waits for the end of handshake 1 for good. */
static void await_scan(struct scene *s)
{
	const struct heapd_thread *self = heapd_self;
	uint32_t cycle = heapd_now_cycle(now_of(s)), naps = passed(s, STEP_nap);
	uint64_t end = fixture_now_ns() + GUARD_NS;

	while (HEAPD_LOAD_ACQUIRE(&self->scanned) != cycle) {
		if (heapd_now_phase(now_of(s)) == HEAPD_PHASE_BARRIER && passed(s, STEP_nap) - naps > 10)
			return;
		if (fixture_now_ns() > end)
			miss("the thread was not scanned");
		nap();
	}
}

/* The store that is late ------------------------------------------------------------------------------------------ */

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

/* The same from a process that attaches when it is told to. Forked before this one attaches, it is no client until then. */
static int newcomer_main(void *arg)
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
	if (held->id != ID)
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

static void one_round(struct scene *s)
{
	wiped_out(s, false);
}

static void newcomers_unseen(struct scene *s)
{
	wiped_out(s, true);
}

/* What the other's store removes was logged before handshake 1 ended, and is removed after this thread's scan. */
static void rings_emptied_late(struct scene *s)
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

/* Slabs on their way ---------------------------------------------------------------------------------------------- */

static void conduct(struct scene *s, void *(*conductor)(void *arg))
{
	s->main_tid = (uint32_t)gettid();
	if (pthread_create(&s->conductor, NULL, conductor, s))
		miss("no thread");
}

static unsigned spares_of(const struct scene *s, size_t bytes)
{
	const struct heapd_thread *self = heapd_self;
	unsigned n = 0;

	for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++)
		n += self->spares[i].entry &&
		     (!bytes || s->heap->t.classes[self->spares[i].class].slot_size == bytes);
	return n;
}

static void allocate_many(struct scene *s, size_t bytes, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!heapd_alloc(s->heap, bytes))
			fail("%s", heapd_error());
}

/* A spare is handed back while step 3 looks: it is neither there any more nor shown yet. */
static void *handback_conduct(void *arg)
{
	struct scene *s = (struct scene *)arg;

	await(s, STEP_barriers_up);
	want(s, STEP_spare_cleared, s->main_tid);
	atomic_store(&s->ready, true);
	await(s, STEP_spare_cleared);
	want(s, STEP_gathered, STEP_ANYBODY);
	release(s, STEP_barriers_up);
	await(s, STEP_gathered);
	atomic_store(&s->enough, true);
	release(s, STEP_spare_cleared);
	release(s, STEP_gathered);
	return NULL;
}

/* Which slot of what was handed back lies at the address; -1: none. */
static bool was_handed_back(const struct scene *s, const struct heapd_batch *batch, const void *p)
{
	const struct heapd_span *span = &s->heap->t.spans[heapd_entry_page(batch->entry)];
	uint64_t offset = (uint64_t)(uintptr_t)p - s->heap->t.base -
			  ((uint64_t)heapd_entry_page(batch->entry) << HEAPD_PAGE_SHIFT),
		 index = offset / span->elemsize;

	if (offset >= (uint64_t)span->npages << HEAPD_PAGE_SHIFT)
		return false;
	for (uint32_t present = heapd_entry_present(batch->entry); present; present &= present - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(present), k = heapd_entry_slab(batch->entry) + i;

		if (index / span->slab_slots == k && batch->masks[i] >> index % span->slab_slots & 1)
			return true;
	}
	return false;
}

static struct cell *again(struct scene *s, const struct heapd_batch *batch, size_t bytes)
{
	for (unsigned i = 0; i < 10 * MANY; i++) {
		void *p = heapd_alloc(s->heap, bytes);

		if (!p)
			fail("%s", heapd_error());
		if (was_handed_back(s, batch, p))
			return (struct cell *)p;
	}
	return NULL;
}

/* Of this size something is left over from what was taken from the ring. */
static void spare_make(struct scene *s, size_t bytes)
{
	unsigned n = 0;

	while (!spares_of(s, bytes) && n++ < MANY)
		allocate_many(s, bytes, 1);
	if (!spares_of(s, bytes))
		miss("there is no spare");
}

/* All places are taken, by sizes up to the one that is returned. */
static size_t spares_fill(struct scene *s)
{
	size_t bytes = 16;

	while (spares_of(s, 0) < HEAPD_SPARE_COUNT) {
		bytes = heapd_sizeclass_size(heapd_sizeclass_of(bytes + 1));
		spare_make(s, bytes);
	}
	return bytes;
}

static void handed_back_unnoted(struct scene *s)
{
	const struct heapd_thread *self = heapd_self;
	size_t other = spares_fill(s) + 1;
	uint32_t before = (uint32_t)self->handback_tail;
	struct cell *c;

	want(s, STEP_harvest, STEP_ANYBODY);
	want(s, STEP_barriers_up, STEP_ANYBODY);
	conduct(s, handback_conduct);
	collect_begin(s);
	while (!atomic_load(&s->ready))
		nap();
	while (!atomic_load(&s->enough))
		allocate_many(s, other, 1);
	pthread_join(s->conductor, NULL);
	collect_end(s);
	if ((uint32_t)self->handback_tail == before)
		miss("nothing was handed back");
	struct heapd_batch batch = self->handback[before % HEAPD_HANDBACK_COUNT];
	size_t bytes = s->heap->t.classes[batch.class].slot_size;
	c = again(s, &batch, bytes);
	if (c) {
		c->id = ID;
		heapd_store(&s->root->next, c);
	}
	want(s, STEP_harvest, 0);
	must(heapd_sync(s->heap));
	allocate_many(s, bytes, MANY);
	if (c && c->id != ID)
		fail("a slot was given to two");
}

static void pin_to_first(void)
{
	cpu_set_t set;
	size_t cpu = 0;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		fail("sched_getaffinity: %s", strerror(errno));
	while (!CPU_ISSET(cpu, &set))
		cpu++;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		fail("sched_setaffinity: %s", strerror(errno));
}

#define FEW 4096u /* bytes: four to a slab */

static void *rival_main(void *arg)
{
	struct scene *s = (struct scene *)arg;

	pin_to_first();
	allocate_many(s, 16, 1);
	atomic_store(&s->other->tid, (uint32_t)gettid());
	await_flag(&s->other->go, "a rival is to install a slab");
	allocate_many(s, FEW, 1);
	atomic_store(&s->other->done, 1);
	return NULL;
}

/* A slab goes from a spare to the note, and, since a rival was faster, back, while step 3 looks from the one to the other. */
static void *install_conduct(void *arg)
{
	struct scene *s = (struct scene *)arg;
	uint32_t collector = await(s, STEP_barriers_up);

	want(s, STEP_installing, s->main_tid);
	atomic_store(&s->ready, true);
	await(s, STEP_installing);
	atomic_store(&s->other->go, 1);
	await_flag(&s->other->done, "a rival installs its slab");
	want(s, STEP_hands, collector);
	release(s, STEP_barriers_up);
	await(s, STEP_hands);
	atomic_store(&s->enough, true);
	release(s, STEP_installing);
	while (!atomic_load(&s->passed))
		nap();
	release(s, STEP_hands);
	return NULL;
}

static void lost_install_unseen(struct scene *s)
{
	uint32_t before;
	pthread_t rival;

	pin_to_first();
	if (pthread_create(&rival, NULL, rival_main, s))
		miss("no thread");
	await_flag(&s->other->tid, "a thread attaches");
	spare_make(s, FEW); /* from before the cycle: what is taken later is held in any case */
	before = heapd_self->put_back;
	want(s, STEP_barriers_up, STEP_ANYBODY);
	conduct(s, install_conduct);
	collect_begin(s);
	while (!atomic_load(&s->ready))
		nap();
	while (!atomic_load(&s->enough))
		allocate_many(s, FEW, 1);
	if (heapd_self->put_back == before)
		miss("no install was lost");
	atomic_store(&s->passed, true);
	pthread_join(s->conductor, NULL);
	collect_end(s);
	pthread_join(rival, NULL);
}

/* ----------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(struct scene *s);
} scenarios[] = {
	{ "one_round", one_round },
	{ "rings_emptied_late", rings_emptied_late },
	{ "newcomers_unseen", newcomers_unseen },
	{ "handed_back_unnoted", handed_back_unnoted },
	{ "lost_install_unseen", lost_install_unseen },
};

static void steps_make(struct scene *s)
{
	int fd = memfd_create("steps", 0);
	char path[64];

	if (fd < 0 || ftruncate(fd, sizeof(*s->steps)) < 0)
		miss("no memory for the steps");
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
	setenv("HEAPD_STEPS", path, 1);
	s->steps = heapd_steps_map(path);
	s->other = mmap(NULL, sizeof(*s->other), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!s->steps || s->other == MAP_FAILED)
		miss("no memory for the steps");
}

/* In a process of its own. */
static void scenario_run(const char *name, void (*run)(struct scene *s))
{
	static const char *const settings[] = { "heap.test.GCPercent=10000", "heap.test.GCInterval=off",
						NULL };
	static struct scene s;
	uint64_t began = fixture_now_ns();
	pid_t newcomer = 0;

	steps_make(&s);
	fixture_start(&s.fixture, settings);
	if (run == newcomers_unseen)
		newcomer = fixture_client_fork(newcomer_main, &s);
	must(heapd_attach(&s.heap, FIXTURE_HEAP, NULL));
	shapes_define(&s);
	run(&s);
	if (newcomer)
		fixture_wait(newcomer, 0);
	check_clean(&s);
	must(heapd_detach(s.heap));
	fixture_stop(&s.fixture);
	printf("%.1f s: %s: all is well\n", (double)(fixture_now_ns() - began) / 1e9, name);
}

static bool is_named(const char *name, char **names)
{
	for (char **at = names; *at; at++)
		if (strcmp(*at, name) == 0)
			return true;
	return !*names;
}

int main(int argc, char **argv)
{
	int status, bad = 0;

	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	unsetenv("HEAPD_DELAY_US");
	for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (!is_named(scenarios[i].name, argv + 1))
			continue;
		pid_t pid = fork();
		if (pid == 0) {
			scenario_run(scenarios[i].name, scenarios[i].run);
			exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			miss("no process");
		if (status) {
			printf("FAILED: %s: status 0x%x\n", scenarios[i].name, (unsigned)status);
			bad |= WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		}
	}
	return bad;
}
