/* SPDX-License-Identifier: MIT */
/* Clearing large objects: all of one and nothing else, on both ways; which way it is to be. */
#include "client/clear.h"
#include "suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define MIB   (1ul << 20)
#define ROOM  (MIB + 8192)
#define GUARD 0xa5

static struct clear_past past;

static void setup(void)
{
	memset(&past, 0, sizeof(past));
}

static uint64_t count_of(const unsigned char *at, uint64_t n, unsigned char value)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < n; i++)
		count += at[i] == value;
	return count;
}

/* Cold the first time, warm the second. */
START_TEST(all_and_no_more)
{
	static const uint64_t bytes[] = { 8192, 40960 - 8, 256 << 10, (256 << 10) - 8, MIB - 8, MIB };
	unsigned char *at = aligned_alloc(4096, ROOM);

	for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++)
		for (unsigned round = 0; round < 2; round++) {
			memset(at, GUARD, ROOM);
			clear_large(&past, at, bytes[i]);
			ck_assert_uint_eq(count_of(at, bytes[i], 0), bytes[i]);
			ck_assert_uint_eq(count_of(at + bytes[i], ROOM - bytes[i], GUARD), ROOM - bytes[i]);
		}
	free(at);
}
END_TEST

START_TEST(an_address_comes_back)
{
	ck_assert(clear_is_cold(&past, 16 * MIB, MIB));
	ck_assert(!clear_is_cold(&past, 16 * MIB, MIB));
	ck_assert(clear_is_cold(&past, 17 * MIB, MIB));
	ck_assert(!clear_is_cold(&past, 16 * MIB, MIB));
}
END_TEST

/* A hundred kept: none is at an address where one was a moment ago. */
START_TEST(much_lies_between)
{
	for (unsigned round = 0; round < 3; round++)
		for (uint64_t i = 1; i <= 100; i++)
			ck_assert(clear_is_cold(&past, i * MIB, MIB));
	for (unsigned round = 0; round < 3; round++) /* few, but larger ones */
		for (uint64_t i = 1; i <= 3; i++)
			ck_assert(clear_is_cold(&past, i * 16 * MIB, 4 * MIB));
}
END_TEST

START_TEST(larger_than_a_cache)
{
	for (unsigned round = 0; round < 2; round++)
		ck_assert(clear_is_cold(&past, 64 * MIB, 32 * MIB));
}
END_TEST

START_TEST(small_ones_are_never)
{
	for (uint64_t i = 1; i <= 50; i++)
		ck_assert(!clear_is_cold(&past, i * MIB, 64 << 10));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("clear");
	TCase *tests = tcase_create("large");

	tcase_add_checked_fixture(tests, setup, NULL);
	tcase_add_test(tests, all_and_no_more);
	tcase_add_test(tests, an_address_comes_back);
	tcase_add_test(tests, much_lies_between);
	tcase_add_test(tests, larger_than_a_cache);
	tcase_add_test(tests, small_ones_are_never);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
