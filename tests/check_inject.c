/* SPDX-License-Identifier: MIT */
/*
 * The sequences with delays inside them, so that they are preempted, signalled, migrated and killed
 * there: at each point aborts are counted, and the heap is whole afterwards.
 *
 * Runs with the library's build that has the delays: begins itself again with it, if it has not got it.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "heapd/geometry.h"

#include "objects.h"
#include "suite.h"
#include "workers.h"

#define POINTS \
	8 /* 0 and 1: pop; 2: push; 3 and 4: install, before its stores and between them; 5: take; 6: turn; 7: collect */
#define PROCESSES 4u
#define KILLS     100u
#define OBJECT    3072u /* five to a slab */
#define MS        1000000ull

static struct fixture fixture;
static uint32_t *points;
static uint64_t *aborts;

/* Written by the workers, beside the heap. */
static struct shared {
	_Atomic uint64_t aborts;
	_Atomic uint64_t last; /* the object that was allocated last */
} * shared;

static void setup(void)
{
	points = (uint32_t *)dlsym(RTLD_DEFAULT, "heapd_inject_points");
	aborts = (uint64_t *)dlsym(RTLD_DEFAULT, "heapd_inject_aborts");
	ck_assert(points && aborts);
	shared = (struct shared *)mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	fixture_start(&fixture, NULL);
}

static void teardown(void)
{
	fixture_stop(&fixture);
}

static void nap_us(unsigned us)
{
	const struct timespec t = { .tv_nsec = us * 1000l };

	nanosleep(&t, NULL);
}

/* Turns of the empty loop that take that long here. */
static uint32_t turns_of(unsigned us)
{
	uint64_t begin = fixture_now_ns();

	for (unsigned i = 0; i < 10000000; i++)
		__asm__ volatile("");
	return (uint32_t)(10000000ull * us * 1000 / (fixture_now_ns() - begin + 1));
}

static void on_ended(void)
{
	atomic_fetch_add(&shared->aborts, __atomic_load_n(aborts, __ATOMIC_RELAXED));
}

static void run(unsigned point, bool migrate, unsigned signal_us)
{
	struct worker_plan plan = { .threads = 2,
				    .live = 32,
				    .seed = fixture_seed(),
				    .migrate = migrate,
				    .signal_us = signal_us,
				    .ended = on_ended };
	pid_t pids[PROCESSES];

	workers_prepare();
	points[point] = turns_of(point < 3 ? 20 : 100);
	for (unsigned i = 0; i < PROCESSES; i++)
		pids[i] = worker_start(&plan, i);
	for (unsigned i = 0; i < 6; i++) {
		nap_us(80000);
		ck_assert_int_eq(fixture_verify(&fixture, FIXTURE_HEAP), 0);
	}
	workers_stop();
	for (unsigned i = 0; i < PROCESSES; i++)
		fixture_wait(pids[i], 0);
	points[point] = 0;
	printf("point %u: %llu operations, %llu aborts\n", point, (unsigned long long)workers_done(),
	       (unsigned long long)shared->aborts);
	ck_assert_uint_gt(shared->aborts, 10);
	workers_settle(true);
}

START_TEST(preempted_at)
{
	run((unsigned)_i, false, 0);
}
END_TEST

START_TEST(signalled_and_migrated_at)
{
	run((unsigned)_i, true, 1000);
}
END_TEST

/* This CPU's entry for the class of OBJECT, as anybody can see it. */
static struct heapd_rseq_entry *entry_of(heapd_heap *heap)
{
	struct heapd_info info = HEAPD_SIZED(info);
	struct heapd_geometry g;
	struct heapd_tables t;

	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	ck_assert_uint_eq(info.path, HEAPD_PATH_RSEQ);
	ck_assert(heapd_geometry_compute(&g, info.heap_size, info.cpus));
	char *base = (char *)(uintptr_t)info.base;
	heapd_tables_init(&t, &g, info.base, base + g.directory_at, base + g.control_at);
	return t.rseq_rows + (uint64_t)sched_getcpu() * HEAPD_CLASS_MAX + heapd_sizeclass_of(OBJECT);
}

static uint32_t between_turns;

/*
 * Allocates until it is killed; from the second object on nearly all of its time passes between install's
 * two stores. (Whoever waits for it on the same CPU must sleep meanwhile, or no sequence would end.)
 */
static int allocate_for_ever(void *arg)
{
	heapd_heap *heap = *(heapd_heap **)arg;

	for (;; points[4] = between_turns) {
		uint64_t *p = (uint64_t *)heapd_alloc(heap, OBJECT);

		if (!p || !bytes_zero(p, OBJECT))
			return 1;
		*p = 1;
		atomic_store(&shared->last, (uint64_t)(uintptr_t)p);
	}
}

/* A slab's base stands there, no bits, and nothing of it was allocated: killed between the stores. */
static bool is_between(const struct heapd_rseq_entry *entry)
{
	const struct heapd_current *slab = &entry->slabs[entry->way / sizeof(*slab)];
	uint64_t base = slab->base & ~HEAPD_CURRENT_ZEROED;

	return base && !slab->bits && shared->last - base >= 5ul * OBJECT;
}

static void kill_one(heapd_heap **heap)
{
	int status;
	pid_t pid;

	shared->last = 0;
	pid = fixture_client_fork(allocate_for_ever, heap);
	while (!shared->last)
		nap_us(100);
	nap_us((unsigned)(drand48() * 6000));
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status), "it had ended with 0x%x", (unsigned)status);
}

START_TEST(killed_between_two_stores)
{
	static uint64_t *objects[2000];
	heapd_heap *heap = heap_attach(0, 0);
	unsigned between = 0;

	cpu_pin(sched_getcpu());
	between_turns = turns_of(3000);
	srand48((long)fixture_seed());
	for (unsigned i = 0; i < KILLS; i++) {
		kill_one(&heap);
		between += is_between(entry_of(heap));
		if (i % 10 == 0)
			heap_verify(heap, NULL);
	}
	printf("%u of %u were killed between the stores\n", between, KILLS);
	ck_assert_uint_gt(between, KILLS / 4);
	heap_verify(heap, NULL);
	for (unsigned i = 0; i < 2000; i++) {
		objects[i] = (uint64_t *)heapd_alloc(heap, OBJECT);
		ck_must(objects[i] && bytes_zero(objects[i], OBJECT), "object %u: %s", i, heapd_error());
		pattern_fill(objects[i], OBJECT, i + 1);
	}
	for (unsigned i = 0; i < 2000; i++)
		ck_must(pattern_whole(objects[i], OBJECT, i + 1), "object %u was overwritten", i);
	heap_verify(heap, NULL);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* What the environment set as the library was loaded. */
START_TEST(set_by_environment)
{
	ck_assert_uint_eq(points[6], 3);
	ck_assert_uint_eq(points[7], 2);
	ck_assert_uint_eq(points[4], 0);
}
END_TEST

/* With the library that has the delays before the one that has not. */
static void begin_again(void)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	char path[4096];

	snprintf(path, sizeof(path), "%s/inject", build ? build : "build");
	if (getenv("HEAPD_INJECT")) {
		fprintf(stderr, "%s: no libheapd with delays there\n", path);
		exit(EXIT_FAILURE);
	}
	setenv("LD_LIBRARY_PATH", path, 1);
	setenv("HEAPD_INJECT", "0,0,0,0,0,0,3,2", 1);
	execv("/proc/self/exe", (char *[]){ (char *)"check_inject", NULL });
	perror("/proc/self/exe");
	exit(EXIT_FAILURE);
}

int main(void)
{
	Suite *suite = suite_create("inject");
	TCase *tc = tcase_create("inject");

	if (!dlsym(RTLD_DEFAULT, "heapd_inject_points"))
		begin_again();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, preempted_at, 0, POINTS);
	tcase_add_loop_test(tc, signalled_and_migrated_at, 0, POINTS);
	tcase_add_test(tc, killed_between_two_stores);
	tcase_add_test(tc, set_by_environment);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
