/* SPDX-License-Identifier: MIT */
/*
 * Weak references read while the collector clears them: cycles run back to back, and each read by a scanned thread takes its time
 * between its two halves, so that marking ends, cells are cleared and objects are swept in between. What a
 * read gave is whole, and stays so while it is held; for processes that write the heap, and for readers. Objects are large ones:
 * when such a one is swept its span goes, so it shows at once.
 *
 * Runs with the library's build that has the delays: begins itself again with it, if it has not got it.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fixture.h"
#include "heapd.h"
#include "numbers.h"
#include "suite.h"

#define CELLS   64u
#define HANDS   4u
#define BALLAST 200000u
#define POINT   7
#define SECONDS 2u

struct thing {
	uint64_t value, check;
	char pad[40000];
};

struct table {
	heapd_ptr(heapd_weak) cells[CELLS];
};

/* What a process holds, and what it read there first. */
struct hand {
	struct thing *thing;
	uint64_t value;
};

static struct fixture fixture;
static heapd_heap *heap;
static heapd_type *things;

static struct thing *thing_new(uint64_t value)
{
	struct thing *t = heapd_new(things, struct thing);

	if (!t)
		return NULL;
	t->value = value;
	t->check = ~value;
	return t;
}

static bool is_whole(const struct hand *hand)
{
	const struct thing *t = hand->thing;

	return !t || (heapd_size(t) >= sizeof(*t) && t->value == hand->value && t->check == ~t->value);
}

/* Turns of the empty loop that take that long here. */
static uint32_t turns_of(unsigned us)
{
	uint64_t begin = fixture_now_ns();

	for (unsigned i = 0; i < 10000000; i++)
		__asm__ volatile("");
	return (uint32_t)(10000000ull * us * 1000 / (fixture_now_ns() - begin + 1));
}

struct plan {
	uint32_t flags;
	uint64_t seed;
	unsigned delay_us;
};

static struct table *table_get(const struct plan *plan)
{
	struct heapd_options options = heapd_options_default();

	options.flags = plan->flags;
	if (heapd_attach(&heap, FIXTURE_HEAP, &options) < 0)
		return NULL;
	things = heapd_type_define_leaf(heap, "thing", struct thing);
	return heapd_root_get(heap, "table", NULL);
}

static void step(const struct plan *plan, struct table *table, struct hand *hand, uint64_t *seed)
{
	unsigned i = (unsigned)random_next(seed) % CELLS;
	heapd_weak *weak = heapd_load(&table->cells[i]);

	hand->thing = weak ? heapd_weak_get(weak, struct thing) : NULL;
	if (!hand->thing && !plan->flags) {
		hand->thing = thing_new(random_next(seed));
		if (hand->thing)
			heapd_store(&table->cells[i], heapd_weak_new(heap, hand->thing));
	}
	hand->value = hand->thing ? hand->thing->value : 0;
}

static int work(void *arg)
{
	const struct plan *plan = (const struct plan *)arg;
	uint64_t seed = plan->seed ^ (uint64_t)getpid() << 20,
		 end = fixture_now_ns() + SECONDS * 1000000000ull;
	struct table *table = table_get(plan);
	struct hand hands[HANDS] = { 0 };

	if (!table)
		return 1;
	((uint32_t *)dlsym(RTLD_DEFAULT, "heapd_inject_points"))[POINT] = turns_of(plan->delay_us);
	for (unsigned n = 0; fixture_now_ns() < end; n++) {
		step(plan, table, &hands[n % HANDS], &seed);
		for (unsigned i = 0; i < HANDS; i++)
			if (!is_whole(&hands[i]))
				return 2;
	}
	return 0;
}

/* Cells that the collector has to go through first, so that it takes its time, too. */
static void ballast_make(void)
{
	heapd_weak **cells = (heapd_weak **)heapd_alloc(heap, BALLAST * sizeof(*cells));

	ck_assert_int_eq(heapd_root_set(heap, "ballast", cells), 0);
	for (unsigned i = 0; i < BALLAST; i++) {
		heapd_weak *weak = heapd_weak_new(heap, cells);
		ck_assert_ptr_nonnull(weak);
		heapd_store(&cells[i], weak);
	}
}

static void setup(void)
{
	static const char *const settings[] = { "heap.test.GCPercent=100", "heap.test.Debug=stress", NULL };

	fixture_start(&fixture, settings);
	ck_assert_int_eq(heapd_attach(&heap, FIXTURE_HEAP, NULL), 0);
	heapd_type *tables = heapd_type_define(heap, "table", struct table, cells);
	ck_assert_ptr_nonnull(heapd_root(heap, "table", struct table, tables));
	ballast_make();
	ck_assert_int_eq(heapd_detach(heap), 0);
}

static void teardown(void)
{
	fixture_stop(&fixture);
}

static const unsigned delays_us[] = { 30, 500 };

/* _i: the delay; two processes that make things, and one more of this kind. */
static void race(uint32_t flags, unsigned delay_us)
{
	struct plan makers = { .seed = fixture_seed() | 1, .delay_us = delay_us }, third = makers;

	third.flags = flags;
	fixture_client_fork(work, &makers);
	fixture_client_fork(work, &makers);
	fixture_client_fork(work, &third);
	for (unsigned i = 0; i < 3; i++)
		fixture_wait(-1, 0);
}

START_TEST(writers)
{
	race(0, delays_us[_i]);
}
END_TEST

START_TEST(readers)
{
	race(HEAPD_ATTACH_READ_ONLY, delays_us[_i]);
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
	setenv("HEAPD_INJECT", "0", 1);
	execv("/proc/self/exe", (char *[]){ (char *)"check_touch", NULL });
	perror("/proc/self/exe");
	exit(EXIT_FAILURE);
}

int main(void)
{
	Suite *suite = suite_create("touch");
	TCase *tcase = tcase_create("touch");

	if (!dlsym(RTLD_DEFAULT, "heapd_inject_points"))
		begin_again();
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, writers, 0, 2);
	tcase_add_loop_test(tcase, readers, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
