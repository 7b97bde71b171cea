/* SPDX-License-Identifier: MIT */
/* The pacer's arithmetic: goals, the limit, and how long before the goal a cycle begins. And who looks whether it is to begin. */
#include <check.h>
#include <stdlib.h>

#include "daemon/pacer.h"
#include "testheap.h"

START_TEST(goal_is_live_and_a_share_more)
{
	struct pace_input in = { .live = 100 * MIB, .left = 100 * MIB, .limit = 10000 * MIB, .percent = 100 };

	ck_assert_uint_eq(pacer_plan(&in).goal / MIB, 200);
	in.percent = 50;
	ck_assert_uint_eq(pacer_plan(&in).goal / MIB, 150);
	in.percent = 400;
	ck_assert_uint_eq(pacer_plan(&in).goal / MIB, 500);
}
END_TEST

START_TEST(a_small_heap_grows_by_the_least)
{
	struct pace_input in = { .live = 1000, .left = 1000, .limit = 1000 * MIB, .percent = 10 };

	ck_assert_uint_eq(pacer_plan(&in).goal, 1000 + PACER_LEAST);
	ck_assert_uint_eq(pacer_plan(&in).trigger, 1000 + PACER_LEAST);
}
END_TEST

START_TEST(the_limit_cuts_the_goal)
{
	struct pace_input in = { .live = 600 * MIB, .left = 600 * MIB, .limit = 1000 * MIB, .percent = 100 };

	ck_assert_uint_eq(pacer_plan(&in).goal / MIB, 900);
}
END_TEST

/* A heap that is full of live objects is not collected without end. */
START_TEST(never_below_what_is_left)
{
	struct pace_input in = { .live = 980 * MIB, .left = 990 * MIB, .limit = 1000 * MIB, .percent = 100 };

	ck_assert_uint_ge(pacer_plan(&in).goal, 990 * MIB + 990 * MIB / 16);
	ck_assert_uint_gt(pacer_plan(&in).trigger, in.left);
}
END_TEST

/* Allocating 100 MiB/s, with cycles of 100 ms: 20 MiB before the goal; never more than half of the way. */
START_TEST(a_fast_heap_begins_earlier)
{
	struct pace_input in = {
		.live = 100 * MIB,
		.left = 100 * MIB,
		.limit = 10000 * MIB,
		.percent = 100,
		.rate = 100 * MIB,
		.cycle_ns = 100000000,
	};
	struct pace pace = pacer_plan(&in);

	ck_assert_uint_eq((pace.goal - pace.trigger) / MIB, 20);
	in.rate = 100000 * MIB;
	pace = pacer_plan(&in);
	ck_assert_uint_eq(pace.trigger, in.left + (pace.goal - in.left + 1) / 2);
}
END_TEST

/* Half of the time in cycles: twice as much may be allocated in between, and half of the way there is gone at once. */
START_TEST(auto_takes_memory_where_it_saves_work)
{
	struct pace_load load = {
		.percent = 100, .live = 100 * MIB, .limit = 10000 * MIB, .cycle_ns = 500, .period_ns = 1000
	};

	ck_assert_uint_eq(pacer_auto(&load), 150);
	load.cycle_ns = 250; /* as wanted */
	load.percent = 240;
	ck_assert_uint_eq(pacer_auto(&load), 240);
	load.cycle_ns = 125;
	ck_assert_uint_eq(pacer_auto(&load), 180);
	load.cycle_ns = 1000;
	ck_assert_uint_eq(pacer_auto(&load), PACER_AUTO_MOST);
}
END_TEST

/* Cycles of 100 ms, and a heap of 100 MiB that grows by 250 MiB a second: a quarter of the time is met at 160 percent. */
START_TEST(auto_comes_to_rest)
{
	struct pace_load load = { .percent = 100, .live = 100 * MIB, .limit = 10000 * MIB, .cycle_ns = 100 };

	for (unsigned i = 0; i < 20; i++) {
		load.period_ns = load.percent * 10 / 4;
		load.percent = pacer_auto(&load);
	}
	ck_assert_uint_ge(load.percent, 155);
	ck_assert_uint_le(load.percent, 160);
}
END_TEST

START_TEST(auto_stays_at_the_least_where_cycles_are_few)
{
	struct pace_load load = {
		.percent = 100, .live = 100 * MIB, .limit = 10000 * MIB, .cycle_ns = 1, .period_ns = 1000
	};

	ck_assert_uint_eq(pacer_auto(&load), PACER_AUTO_LEAST);
	load.percent = PACER_AUTO_MOST;
	for (unsigned i = 0; i < 3; i++)
		load.percent = pacer_auto(&load);
	ck_assert_uint_eq(load.percent, PACER_AUTO_LEAST);
	load.period_ns = 0; /* of a clock that stood */
	load.cycle_ns = 0;
	ck_assert_uint_eq(pacer_auto(&load), PACER_AUTO_LEAST);
}
END_TEST

/* Nothing but cycles: 200 MiB come to three quarters of 1000 by 275 percent, 600 are too near to them. */
START_TEST(auto_leaves_a_quarter_of_the_limit)
{
	struct pace_load load = {
		.percent = 400, .live = 200 * MIB, .limit = 1000 * MIB, .cycle_ns = 1000, .period_ns = 1000
	};

	ck_assert_uint_eq(pacer_auto(&load), 275);
	load.live = 600 * MIB;
	ck_assert_uint_eq(pacer_auto(&load), PACER_AUTO_LEAST);
	load.live = 0;
	ck_assert_uint_eq(pacer_auto(&load), PACER_AUTO_MOST);
}
END_TEST

START_TEST(deaths_get_a_fifth)
{
	ck_assert_uint_eq(pacer_death_rest_ns(1000), 4000);
}
END_TEST

/* Nothing but large objects: nobody takes from a ring, no supplier is awake, and yet the cycle is asked for in time. */
START_TEST(large_objects_are_paced)
{
	struct testheap t;
	uint64_t address;
	bool zeroed;

	testheap_init(&t, 64 * MIB, 64 * MIB);
	ck_assert_int_eq(supply_init(t.heap), 0);
	HEAPD_STORE_RELEASE(&t.heap->t.directory->cycle.collecting, 1);
	t.heap->collection->trigger_bytes = 5 * MIB;
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(
			supply_large(t.heap, HEAPD_SIZECLASS_LARGE, 2 * MIB, 16, 0, &address, &zeroed), 0);
		ck_assert_int_eq(collection_is_wanted(t.heap, TRIGGER_HEAP), i == 2);
	}
	ck_assert_uint_eq(t.heap->collection->trigger_bytes, UINT64_MAX);
	testheap_is_clean(&t);
	testheap_deinit(&t);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pacer");
	TCase *tests = tcase_create("pacer");

	tcase_add_test(tests, goal_is_live_and_a_share_more);
	tcase_add_test(tests, a_small_heap_grows_by_the_least);
	tcase_add_test(tests, the_limit_cuts_the_goal);
	tcase_add_test(tests, never_below_what_is_left);
	tcase_add_test(tests, a_fast_heap_begins_earlier);
	tcase_add_test(tests, auto_takes_memory_where_it_saves_work);
	tcase_add_test(tests, auto_comes_to_rest);
	tcase_add_test(tests, auto_stays_at_the_least_where_cycles_are_few);
	tcase_add_test(tests, auto_leaves_a_quarter_of_the_limit);
	tcase_add_test(tests, deaths_get_a_fifth);
	tcase_add_test(tests, large_objects_are_paced);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
