/* SPDX-License-Identifier: MIT */
/*
 * Many processes on few classes: rings run dry and wrap, objects are freed by others than made them,
 * threads and attachments come and go, sequences are aborted and migrated, processes are killed. No
 * slot is ever given twice, and where nobody was killed every slot is accounted for at the end.
 *
 * HEAPD_TEST_SECONDS makes each run longer; HEAPD_TEST_SEED repeats what the workers chose.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "heapd/geometry.h"

#include "objects.h"
#include "suite.h"
#include "workers.h"

#define PROCESSES 6u
#define MS        1000000ull

static struct fixture fixture;
static uint64_t seed;

static void setup(void)
{
	fixture_start(&fixture, NULL);
	workers_prepare();
	seed = fixture_seed();
}

static void teardown(void)
{
	fixture_stop(&fixture);
}

static uint64_t run_ns(uint64_t ms)
{
	const char *seconds = getenv("HEAPD_TEST_SECONDS");

	return seconds ? strtoull(seconds, NULL, 10) * 1000 * MS : ms * MS;
}

static void nap_ms(unsigned ms)
{
	const struct timespec t = { .tv_nsec = (long)ms * 1000000 };

	nanosleep(&t, NULL);
}

/* Entries that were ever put into the class's ring: how often it wrapped. */
static uint64_t ring_entries(uint64_t bytes)
{
	heapd_heap *heap = heap_attach(0, 0);
	struct heapd_info info = HEAPD_SIZED(info);
	struct heapd_geometry g;
	struct heapd_tables t;

	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	ck_assert(heapd_geometry_compute(&g, info.heap_size, info.cpus));
	char *base = (char *)(uintptr_t)info.base;
	heapd_tables_init(&t, &g, info.base, base + g.directory_at, base + g.control_at);
	uint64_t tail = t.rings[heapd_sizeclass_of(bytes)].tail;
	ck_assert_int_eq(heapd_detach(heap), 0);
	return tail;
}

/*
 * Starts them, verifies the heap while they work, ends them, and verifies it again. So long, and until the ring has had more than so many
 * entries, however slow the machine is.
 */
static void run(const struct worker_plan *plan, unsigned processes, uint64_t ms, uint64_t entries)
{
	uint64_t end = fixture_now_ns() + run_ns(ms);
	pid_t pids[PROCESSES];

	for (unsigned i = 0; i < processes; i++)
		pids[i] = worker_start(plan, i);
	while (fixture_now_ns() < end || (entries && ring_entries(12000) <= entries)) {
		nap_ms(100);
		ck_assert_int_eq(fixture_verify(&fixture, FIXTURE_HEAP), 0);
	}
	workers_stop();
	for (unsigned i = 0; i < processes; i++)
		fixture_wait(pids[i], 0);
	ck_assert_int_eq(fixture_verify(&fixture, FIXTURE_HEAP), 0);
	printf("%llu operations\n", (unsigned long long)workers_done());
	workers_settle(true);
}

START_TEST(rings_wrap)
{
	struct worker_plan plan = { .threads = 2, .live = 64, .seed = seed, .path = _i == 2 ? -1 : _i };

	run(&plan, PROCESSES, 1000, 2 * HEAPD_RING_SLOTS);
}
END_TEST

START_TEST(aborted_and_migrated)
{
	struct worker_plan plan = {
		.threads = 3, .live = 32, .seed = seed, .path = -1, .migrate = true, .signal_us = 50
	};

	run(&plan, 3, 1500, 0);
}
END_TEST

START_TEST(threads_and_attachments_churn)
{
	struct worker_plan plan = { .threads = 4, .live = 64, .seed = seed, .path = -1, .churn = true };

	run(&plan, 4, 1000, 0);
}
END_TEST

static pid_t killed(pid_t pid)
{
	int status;

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it had ended with 0x%x",
		      (unsigned)status);
	return pid;
}

/* Any process may be killed at any moment: the others do not notice. */
START_TEST(killed_at_random)
{
	struct worker_plan plan = { .threads = 2, .live = 32, .seed = seed, .path = -1 };
	uint64_t end = fixture_now_ns() + run_ns(3000);
	pid_t pids[PROCESSES];
	unsigned kills = 0;

	srand48((long)seed);
	for (unsigned i = 0; i < PROCESSES; i++)
		pids[i] = worker_start(&plan, i);
	/* So long, and as often, however slow the machine is. */
	for (; fixture_now_ns() < end || kills <= 20; kills++) {
		unsigned i = (unsigned)(drand48() * PROCESSES);

		nap_ms((unsigned)(drand48() * 10));
		killed(pids[i]);
		pids[i] = worker_start(&plan, i);
		if (kills % 16 == 0)
			ck_assert_int_eq(fixture_verify(&fixture, FIXTURE_HEAP), 0);
	}
	workers_stop();
	for (unsigned i = 0; i < PROCESSES; i++)
		fixture_wait(pids[i], 0);
	printf("%u killed, %llu operations\n", kills, (unsigned long long)workers_done());
	workers_settle(false);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("concurrency");
	TCase *tc = tcase_create("concurrency");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60 + (double)run_ns(0) / 1e9);
	tcase_add_loop_test(tc, rings_wrap, 0, 3);
	tcase_add_test(tc, aborted_and_migrated);
	tcase_add_test(tc, threads_and_attachments_churn);
	tcase_add_test(tc, killed_at_random);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
