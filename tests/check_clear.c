/* SPDX-License-Identifier: MIT */
/* Clearing large objects: all of one and nothing else, on both ways; which way it is to be. */
#include "client/clear.h"
#include "fixture.h"
#include "suite.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
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

/*
 * Stores past the cache are in no order with the one that makes the object known: without the fence at their end, who hears of it
 * on another processor finds what lay there before, once in about a hundred rounds. The last lines are the last on their way.
 */
#define MEETING_NS 1500000000u
#define LINES      16u /* that are looked at, from the last one on */

struct meeting {
	unsigned char *object;
	_Atomic uint32_t known __attribute__((aligned(128)));
	_Atomic uint32_t seen __attribute__((aligned(128)));
	uint32_t wrong;
};

/* So that they are two, not one after the other. */
static void stay_on(unsigned nth)
{
	cpu_set_t all, one;
	size_t cpu = 0;

	CPU_ZERO(&one);
	sched_getaffinity(0, sizeof(all), &all);
	for (unsigned left = nth % (unsigned)CPU_COUNT(&all); left || !CPU_ISSET(cpu, &all); cpu++)
		left -= CPU_ISSET(cpu, &all) ? 1 : 0;
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static uint32_t wait_for_other(const _Atomic uint32_t *word, uint32_t than)
{
	uint32_t value;

	for (unsigned i = 1; (value = atomic_load_explicit(word, memory_order_acquire)) == than; i++)
		if (i % 256 == 0)
			sched_yield();
	return value;
}

static bool is_clear(const unsigned char *end)
{
	uint64_t word = 0;

	for (unsigned line = 1; line <= LINES; line++)
		word |= *(const volatile uint64_t *)(const void *)(end - 64ul * line);
	return word == 0;
}

static void *hear(void *arg)
{
	struct meeting *m = arg;

	stay_on(1);
	for (uint32_t round = 0; (round = wait_for_other(&m->known, round)) != UINT32_MAX;) {
		m->wrong += !is_clear(m->object + MIB / 2);
		atomic_store_explicit(&m->seen, round, memory_order_release);
	}
	return NULL;
}

static void tell(struct meeting *m, uint32_t round)
{
	memset(m->object, GUARD, MIB / 2);
	setup(); /* cold each time */
	clear_large(&past, m->object, MIB / 2);
	atomic_store_explicit(&m->known, round, memory_order_release);
	wait_for_other(&m->seen, round - 1);
}

START_TEST(who_hears_of_it_sees_it_clear)
{
	struct meeting m = { .object = aligned_alloc(4096, ROOM) };
	uint64_t end = fixture_now_ns() + MEETING_NS;
	pthread_t other;

	ck_assert_int_eq(pthread_create(&other, NULL, hear, &m), 0);
	stay_on(0);
	for (uint32_t round = 1; fixture_now_ns() < end; round++)
		tell(&m, round);
	m.known = UINT32_MAX;
	pthread_join(other, NULL);
	free(m.object);
	ck_assert_uint_eq(m.wrong, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("clear");
	TCase *tests = tcase_create("large");

	tcase_add_checked_fixture(tests, setup, NULL);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, all_and_no_more);
	tcase_add_test(tests, an_address_comes_back);
	tcase_add_test(tests, much_lies_between);
	tcase_add_test(tests, larger_than_a_cache);
	tcase_add_test(tests, small_ones_are_never);
	tcase_add_test(tests, who_hears_of_it_sees_it_clear);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
