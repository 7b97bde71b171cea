/* SPDX-License-Identifier: MIT */
/*
 * Memory that is committed ahead of need, while the heap's lock is anybody's: nobody is given of it before it is there, it is
 * counted as what it is, and who would be refused for want of it has it.
 */
#include <pthread.h>

#include "daemon/ahead.h"
#include "testheap.h"

static struct testheap t;

/* No supplier runs: the test is it. */
static void setup(void)
{
	testheap_init(&t, 64 * MIB, 16 * MIB);
	ck_assert_int_eq(supply_init(t.heap), 0);
}

static void teardown(void)
{
	testheap_is_clean(&t);
	testheap_deinit(&t);
}

static int large_take(uint64_t bytes, uint64_t *address)
{
	bool zeroed;

	return supply_large(t.heap, HEAPD_SIZECLASS_LARGE, bytes, 16, 0, address, &zeroed);
}

static bool ahead_begin(void)
{
	bool begun;

	heap_lock(t.heap);
	begun = pages_ahead_begin(t.heap->pages, PAGES_SUPPLIER);
	heap_unlock(t.heap);
	return begun;
}

static void ahead_end(void)
{
	pages_ahead_commit(t.heap->pages, PAGES_SUPPLIER);
	heap_lock(t.heap);
	ck_assert(pages_ahead_end(t.heap->pages, PAGES_SUPPLIER));
	heap_unlock(t.heap);
}

START_TEST(nobody_is_given_what_is_on_its_way)
{
	uint64_t address, account, base = t.heap->t.base;

	ck_assert_int_eq(large_take(HEAPD_CHUNK_SIZE, &address), 0);
	ck_assert_uint_eq(address, base);
	account = account_taken(&t.account);
	ck_assert(ahead_begin());
	ck_assert_uint_eq(account_taken(&t.account), account + HEAPD_CHUNK_SIZE);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->committed), HEAPD_CHUNK_SIZE);
	testheap_is_clean(&t);
	ck_assert_int_eq(large_take(HEAPD_CHUNK_SIZE, &address), 0);
	ck_assert_uint_eq(address, base + 2 * HEAPD_CHUNK_SIZE);
	ahead_end();
	ck_assert_uint_eq(account_taken(&t.account), account + 2 * HEAPD_CHUNK_SIZE);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->committed), 3 * HEAPD_CHUNK_SIZE);
	testheap_is_clean(&t);
	ck_assert_int_eq(large_take(HEAPD_CHUNK_SIZE, &address), 0);
	ck_assert_uint_eq(address, base + HEAPD_CHUNK_SIZE);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->committed), 3 * HEAPD_CHUNK_SIZE);
}
END_TEST

/* The last chunk that there may be is on its way: whoever asks for it has it, at once, and it is counted once. */
START_TEST(who_would_be_refused_takes_it_over)
{
	uint64_t address, account;

	for (unsigned i = 0; i < 7; i++)
		ck_assert_int_eq(large_take(HEAPD_CHUNK_SIZE, &address), 0);
	ck_assert(ahead_begin());
	account = account_taken(&t.account);
	ck_assert_int_eq(large_take(HEAPD_CHUNK_SIZE, &address), 0);
	testheap_is_clean(&t);
	memset((char *)(uintptr_t)address, 1, HEAPD_CHUNK_SIZE);
	ahead_end();
	testheap_is_clean(&t);
	ck_assert_int_eq(((char *)(uintptr_t)address)[HEAPD_CHUNK_SIZE - 1], 1);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->committed), 16 * MIB);
	ck_assert_uint_eq(account_taken(&t.account), account);
	ck_assert_int_eq(large_take(HEAPD_CHUNK_SIZE, &address), -ENOMEM);
}
END_TEST

/* Large objects wake the supplier, which is seen at it with the lock held by somebody else: by this test. */
START_TEST(the_lock_is_free_meanwhile)
{
	uint64_t until = clock_ns() + TESTHEAP_PATIENCE_NS, address;
	bool seen = false;

	testheap_deinit(&t);
	testheap_init(&t, 1024 * MIB, 1024 * MIB);
	testheap_start(&t);
	for (unsigned i = 0; i < 256 && !seen; i++) {
		uint64_t next = clock_ns() + 20000000;

		ck_assert_int_eq(large_take(HEAPD_CHUNK_SIZE, &address), 0);
		while (!seen && clock_ns() < next && clock_ns() < until) {
			heap_lock(t.heap);
			seen = t.heap->pages->ahead[PAGES_SUPPLIER].is_on;
			heap_unlock(t.heap);
		}
	}
	ck_assert(seen);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ahead");
	TCase *tests = tcase_create("ahead");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, nobody_is_given_what_is_on_its_way);
	tcase_add_test(tests, who_would_be_refused_takes_it_over);
	tcase_add_test(tests, the_lock_is_free_meanwhile);
	suite_add_tcase(suite, tests);
	return testheap_run(suite);
}
