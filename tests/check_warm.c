/* SPDX-License-Identifier: MIT */
/*
 * Warm memory costs no system call: 10,000 objects are allocated, and freed, between two marks that a
 * tracer can see: check_fastpath.sh runs this under one and counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "objects.h"
#include "suite.h"

#define OBJECTS 10000u

static struct fixture fixture;

static void setup(void)
{
	fixture_start(&fixture, NULL);
}

static void teardown(void)
{
	fixture_stop(&fixture);
}

/* A call that fails, and shows in a trace by its argument. */
static void mark(const char *loop, const char *what, int path)
{
	char name[64];

	snprintf(name, sizeof(name), "/warm-%s-%s-%s", loop, path ? "cas" : "rseq", what);
	ck_must(access(name, F_OK) < 0, "%s is there", name);
}

static void allocate(heapd_heap *heap, void **objects, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		objects[i] = heapd_alloc(heap, 64);
	for (unsigned i = 0; i < n; i++)
		ck_must(objects[i], "object %u: %s", i, heapd_error());
}

static void release(void **objects, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ck_must(heapd_free(objects[i]) == 0, "object %u: %s", i, heapd_error());
}

/* Each object is free again before the next but three. */
static void pairs(heapd_heap *heap, int path)
{
	void *objects[4];

	mark("pairs", "begin", path);
	for (unsigned i = 0; i < OBJECTS / 4; i++) {
		allocate(heap, objects, 4);
		release(objects, 4);
	}
	mark("pairs", "end", path);
}

/* All at once: out of the rings, which the daemon fills meanwhile. It may come late, so more than one try counts. */
static void bursts(heapd_heap *heap, int path)
{
	static void *objects[OBJECTS];
	const struct timespec nap = { .tv_nsec = 20000000 };

	for (unsigned i = 0; i < 8; i++) {
		if (i > 1)
			mark("burst", "begin", path);
		allocate(heap, objects, OBJECTS);
		if (i > 1)
			mark("burst", "end", path);
		release(objects, OBJECTS);
		ck_assert_int_eq(heapd_sync(heap), 0);
		nanosleep(&nap, NULL);
	}
}

START_TEST(warm)
{
	heapd_heap *heap = heap_attach(path_flags(_i), 0);

	cpu_pin(sched_getcpu());
	bursts(heap, _i);
	pairs(heap, _i);
	pairs(heap, _i);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("warm");
	TCase *tc = tcase_create("warm");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, warm, 0, OBJECTS_PATHS);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
