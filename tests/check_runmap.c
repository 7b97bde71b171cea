/* SPDX-License-Identifier: MIT */
/* The run map against a model of one byte a unit: what is taken is free, first and aligned; nothing is lost. */
#include "daemon/runmap.h"

#include "testheap.h"

#define GROUP 8192ul

static struct runmap map;
static unsigned char *model; /* 1: free */

static void begin(uint64_t units)
{
	ck_assert_int_eq(runmap_init(&map, units), 0);
	model = malloc(units);
	ck_assert_ptr_nonnull(model);
	memset(model, 1, units);
}

static void end(void)
{
	runmap_deinit(&map);
	free(model);
}

/* Where first fit takes it, or UINT64_MAX. */
static uint64_t model_find(uint64_t n, uint64_t align)
{
	for (uint64_t at = 0; at + n <= map.units; at += align) {
		uint64_t i = 0;

		while (i < n && model[at + i])
			i++;
		if (i == n)
			return at;
	}
	return UINT64_MAX;
}

static void take_both(uint64_t n, uint64_t align)
{
	uint64_t expected = model_find(n, align), at = UINT64_MAX;
	int r = runmap_take(&map, n, align, &at);

	ck_assert_uint_eq(at, expected);
	ck_assert_int_eq(r, expected == UINT64_MAX ? -ENOSPC : 0);
	if (r == 0)
		memset(model + at, 0, n);
}

static void give_both(uint64_t at, uint64_t n)
{
	for (uint64_t i = at; i < at + n; i++)
		ck_assert(!model[i] && !runmap_is_free(&map, i));
	runmap_give(&map, at, n);
	memset(model + at, 1, n);
}

static uint64_t some_length(uint64_t *random)
{
	uint64_t kind = testheap_random(random) % 16;

	if (kind == 0)
		return 1 + testheap_random(random) % (2 * GROUP);
	return 1 + testheap_random(random) % (kind < 8 ? 8 : 300);
}

/* The first run of n or more free units of those from `from` up to `end`. */
static uint64_t model_next(uint64_t from, uint64_t end, uint64_t n, uint64_t *at)
{
	uint64_t have = 0;

	for (uint64_t i = from; i < end; i++) {
		have = model[i] ? have + 1 : 0;
		if (have >= n && (i + 1 == end || !model[i + 1])) {
			*at = i + 1 - have;
			return have;
		}
	}
	return 0;
}

/* How many it has. */
static uint64_t next_both(uint64_t from, uint64_t end, uint64_t n)
{
	uint64_t expected = UINT64_MAX, at = UINT64_MAX, length = model_next(from, end, n, &expected);

	ck_assert_uint_eq(runmap_next(&map, from, end, n, &at), length);
	ck_assert_uint_eq(at, expected);
	return length;
}

/* The longest run and one unit more, too: a bound is exact for them. */
static void next_some(uint64_t *random)
{
	uint64_t from = testheap_random(random) % map.units;
	uint64_t end = from + testheap_random(random) % (map.units - from + 1), n, length;

	for (n = some_length(random); (length = next_both(from, end, n)); n = length + 1)
		next_both(from, end, length);
}

static void compare(void)
{
	uint64_t free_units = 0;

	for (uint64_t i = 0; i < map.units; i++) {
		ck_assert_uint_eq(runmap_is_free(&map, i), model[i]);
		free_units += model[i];
	}
	ck_assert_uint_eq(map.free, free_units);
}

/* Somewhere in the map a run of taken units, part of which comes back. */
static void give_some(uint64_t *random)
{
	uint64_t at = testheap_random(random) % map.units, n = 1 + testheap_random(random) % 300, have = 0;

	if (testheap_random(random) % 16 == 0)
		n *= 40;
	while (at < map.units && model[at])
		at++;
	while (at + have < map.units && !model[at + have] && have < n)
		have++;
	if (have)
		give_both(at, have);
}

/* Not a multiple of the group, nor of 64. */
START_TEST(random_takes_and_gives_are_first_fit)
{
	uint64_t random = testheap_seed() + (uint64_t)_i * 977;

	begin(_i % 2 ? 3 * GROUP + 4097 : 300 + (uint64_t)_i);
	for (int step = 0; step < 1500; step++) {
		if (testheap_random(&random) % 100 < 55)
			take_both(some_length(&random), 1ul << testheap_random(&random) % (_i % 3 ? 1 : 9));
		else
			give_some(&random);
		if (step % 100 == 0)
			compare();
		if (step % 10 == 0)
			next_some(&random);
	}
	compare();
	end();
}
END_TEST

/* What is left of a run that began before is a run. */
START_TEST(a_run_is_looked_for_from_its_midst)
{
	uint64_t at;

	begin(4 * GROUP);
	take_both(GROUP / 2, 1);
	take_both(3 * GROUP + GROUP / 2, 1);
	give_both(GROUP / 2, GROUP / 2);
	give_both(GROUP, GROUP);
	ck_assert_int_eq(runmap_take(&map, 2 * GROUP, 1, &at), -ENOSPC);
	next_both(GROUP, 2 * GROUP, 100);
	next_both(GROUP + 5, 2 * GROUP, GROUP - 5);
	next_both(GROUP + 5, 2 * GROUP, GROUP);
	end();
}
END_TEST

START_TEST(runs_reach_across_groups)
{
	uint64_t at;

	begin(4 * GROUP);
	take_both(GROUP - 3, 1);
	take_both(GROUP + 7, 1);
	take_both(2 * GROUP - 4, 1);
	take_both(1, 1);
	ck_assert_uint_eq(map.free, 0);
	/* Given back piece by piece from behind: the run that begins in the first group grows with each. */
	give_both(3 * GROUP, GROUP);
	give_both(2 * GROUP, GROUP);
	give_both(GROUP, GROUP);
	ck_assert_int_eq(runmap_take(&map, 3 * GROUP + 1, 1, &at), -ENOSPC);
	give_both(GROUP - 1, 1);
	take_both(3 * GROUP + 1, 1);
	compare();
	end();
}
END_TEST

/*
 * A bound written by a search that failed must not hide what was given back behind the group. The single free
 * units at the end are there so that the search is not spared for want of free units.
 */
START_TEST(giving_back_lengthens_runs_of_earlier_groups)
{
	begin(8 * GROUP);
	take_both(8 * GROUP, 1);
	for (uint64_t at = 4 * GROUP; at < 8 * GROUP; at += 2)
		give_both(at, 1);
	give_both(GROUP / 2, GROUP / 2);
	take_both(GROUP, 1);
	give_both(2 * GROUP, 100);
	take_both(GROUP, 1);
	give_both(GROUP, GROUP);
	take_both(GROUP / 2 + GROUP + 100, 1);
	/* Across a group that is free as a whole. */
	give_both(GROUP / 2, GROUP + GROUP / 2);
	take_both(GROUP + GROUP / 2 + 1, 1);
	give_both(2 * GROUP, 100);
	take_both(GROUP + GROUP / 2 + 100, 1);
	compare();
	end();
}
END_TEST

START_TEST(alignment_counts_from_the_map_s_start)
{
	uint64_t at;

	begin(2 * GROUP);
	take_both(1, 1);
	take_both(256, 256);
	take_both(3, 2);
	take_both(GROUP - 1, GROUP);
	ck_assert_int_eq(runmap_take(&map, 1, 4 * GROUP, &at), -ENOSPC);
	compare();
	end();
}
END_TEST

START_TEST(bounds)
{
	uint64_t at = 7;

	begin(1000);
	ck_assert_int_eq(runmap_take(&map, 0, 1, &at), -ENOSPC);
	ck_assert_int_eq(runmap_take(&map, 1001, 1, &at), -ENOSPC);
	ck_assert_int_eq(runmap_take(&map, UINT64_MAX, 1, &at), -ENOSPC);
	ck_assert_int_eq(runmap_take(&map, UINT64_MAX - 7, 1ul << 40, &at), -ENOSPC);
	ck_assert_uint_eq(at, 7);
	ck_assert_uint_eq(map.high, 0);
	take_both(1000, 1);
	ck_assert_int_eq(runmap_take(&map, 1, 1, &at), -ENOSPC);
	ck_assert_uint_eq(map.high, 1000);
	end();
}
END_TEST

START_TEST(claims)
{
	begin(GROUP + 100);
	ck_assert_int_eq(runmap_claim(&map, GROUP - 5, 10), 0);
	memset(model + GROUP - 5, 0, 10);
	ck_assert_int_eq(runmap_claim(&map, GROUP, 1), -EBUSY);
	ck_assert_int_eq(runmap_claim(&map, GROUP - 10, 6), -EBUSY);
	ck_assert_int_eq(runmap_claim(&map, GROUP + 99, 2), -EBUSY);
	ck_assert_int_eq(runmap_claim(&map, GROUP + 101, 1), -EBUSY);
	ck_assert_int_eq(runmap_claim(&map, UINT64_MAX, 2), -EBUSY);
	ck_assert_int_eq(runmap_claim(&map, 1, UINT64_MAX), -EBUSY);
	ck_assert_uint_eq(map.high, GROUP + 5);
	compare();
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("runmap");
	TCase *tests = tcase_create("runmap");

	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, random_takes_and_gives_are_first_fit, 0, 6);
	tcase_add_test(tests, a_run_is_looked_for_from_its_midst);
	tcase_add_test(tests, runs_reach_across_groups);
	tcase_add_test(tests, giving_back_lengthens_runs_of_earlier_groups);
	tcase_add_test(tests, alignment_counts_from_the_map_s_start);
	tcase_add_test(tests, bounds);
	tcase_add_test(tests, claims);
	suite_add_tcase(suite, tests);
	return testheap_run(suite);
}
