/* SPDX-License-Identifier: MIT */
/* Clearing ahead of need: what is cleared, how much of it, and who gets it at the limit. */
#include <pthread.h>

#include "daemon/clean.h"
#include "daemon/holds.h"
#include "daemon/sweeper.h"
#include "testheap.h"

#define OBJECT 64u /* pages */

static struct testheap t;
static struct pages pages;

static void setup(void)
{
	testheap_init_with(&t, 64 * MIB, 2 * HEAPD_CHUNK_SIZE, CONFIG_HUGE_NEVER, 0);
	ck_assert_int_eq(pages_init(&pages, t.heap), 0);
}

static void teardown(void)
{
	pages_deinit(&pages);
	testheap_deinit(&t);
}

static unsigned char *page_at(uint64_t page)
{
	return (unsigned char *)(uintptr_t)(t.heap->t.base + (page << HEAPD_PAGE_SHIFT));
}

static bool is_all(uint64_t first, uint64_t n, unsigned char value)
{
	const unsigned char *p = page_at(first);

	return p[0] == value && memcmp(p, p + 1, (n << HEAPD_PAGE_SHIFT) - 1) == 0;
}

static uint64_t take(uint64_t n, bool *zeroed)
{
	uint64_t first;

	ck_assert_int_eq(pages_take(&pages, n, 1, &first, zeroed), 0);
	return first;
}

/* All of both chunks was in use, and is free. */
static void make_garbage(void)
{
	bool zeroed;
	uint64_t first = take(2 * HEAPD_CHUNK_PAGES, &zeroed);

	memset(page_at(first), 0xff, 2 * HEAPD_CHUNK_SIZE);
	pages_give(&pages, first, 2 * HEAPD_CHUNK_PAGES);
}

static void clean_of(struct pages *of)
{
	while (pages_clean_begin(of)) {
		pages_clean_clear(of);
		pages_clean_end(of);
	}
}

static void clean(void)
{
	clean_of(&pages);
}

/* From the low end, where the next one lies, and no more than was noted; all of that is in the map again. */
START_TEST(as_much_as_large_objects_took)
{
	bool zeroed;

	make_garbage();
	pages_clean_note(&pages, OBJECT);
	pages_clean_note(&pages, OBJECT / 2);
	clean();
	ck_assert(is_all(0, 1, 0xff)); /* not before a collection has ended */
	pages_clean_start(&pages);
	clean();
	ck_assert(is_all(0, OBJECT + OBJECT / 2, 0));
	ck_assert(is_all(OBJECT + OBJECT / 2, OBJECT, 0xff));
	ck_assert_uint_eq(pages.punched, 0);
	ck_assert_uint_eq(take(OBJECT, &zeroed), 0);
	ck_assert(zeroed);
	ck_assert_uint_eq(take(OBJECT, &zeroed), OBJECT);
	ck_assert(!zeroed);
	/* What was noted once counts once. */
	pages_give(&pages, 0, OBJECT);
	pages_clean_start(&pages);
	ck_assert(!pages_clean_begin(&pages));
}
END_TEST

START_TEST(what_is_clean_is_passed_over)
{
	make_garbage();
	for (unsigned i = 1; i <= 3; i++) {
		pages_clean_note(&pages, OBJECT);
		pages_clean_start(&pages);
		clean();
		ck_assert(is_all(0, i * OBJECT, 0));
		ck_assert(is_all(i * OBJECT, OBJECT, 0xff));
	}
}
END_TEST

START_TEST(small_objects_do_not_count)
{
	make_garbage();
	for (unsigned i = 0; i < 100; i++)
		pages_clean_note(&pages, 31);
	pages_clean_start(&pages);
	ck_assert(!pages_clean_begin(&pages));
}
END_TEST

/* Pages of somebody's, pages that are clean, and pages that are gone are passed over; what is freed behind it, too. */
START_TEST(only_what_is_free_and_dirty)
{
	bool zeroed;

	make_garbage();
	ck_assert_uint_eq(take(7, &zeroed), 0);
	memset(page_at(0), 0xee, 7 << HEAPD_PAGE_SHIFT);
	pages.gone[0] |= 1ull << 9;
	pages.gone_pages++;
	pages_clean_note(&pages, 2 * HEAPD_CHUNK_PAGES);
	pages_clean_start(&pages);
	ck_assert(pages_clean_begin(&pages));
	ck_assert_uint_eq(pages.clean.first, 7);
	ck_assert_uint_eq(pages.clean.n, 2);
	pages_clean_clear(&pages);
	pages_clean_end(&pages);
	pages_give(&pages, 0, 7);
	clean();
	ck_assert(is_all(0, 7, 0xee) && is_all(7, 2, 0) && is_all(9, 1, 0xff));
	ck_assert(is_all(10, 2 * HEAPD_CHUNK_PAGES - 10, 0));
	ck_assert_uint_eq(pages.punched, 0);
	pages.gone[0] = 0;
	pages.gone_pages = 0;
	pages_give(&pages, take(1, &zeroed), 1); /* what is said of it is right again */
}
END_TEST

struct taker {
	uint64_t first;
	int result;
	bool zeroed, over;
};

static void *take_all(void *arg)
{
	struct taker *taker = arg;

	taker->result = pages_take(&pages, 2 * HEAPD_CHUNK_PAGES, 1, &taker->first, &taker->zeroed);
	HEAPD_STORE_RELEASE(&taker->over, true);
	return NULL;
}

/* Who needs what is in hand has it when it is cleared, not before, and nobody writes to it after. */
START_TEST(at_the_limit_it_is_waited_for)
{
	struct taker taker = { .over = false };
	pthread_t thread;

	make_garbage();
	pages_clean_note(&pages, OBJECT);
	pages_clean_start(&pages);
	ck_assert(pages_clean_begin(&pages));
	ck_assert_int_eq(pthread_create(&thread, NULL, take_all, &taker), 0);
	usleep(50000);
	ck_assert(!HEAPD_LOAD_ACQUIRE(&taker.over));
	pages_clean_clear(&pages);
	pthread_join(thread, NULL);
	ck_assert_int_eq(taker.result, 0);
	ck_assert_uint_eq(taker.first, 0);
	ck_assert(is_all(0, pages.clean.n, 0));
	memset(page_at(0), 0xdd, 2 * HEAPD_CHUNK_SIZE);
	pages_clean_end(&pages);
	clean();
	ck_assert(is_all(0, 2 * HEAPD_CHUNK_PAGES, 0xdd));
	ck_assert_uint_eq(pages.punched, 0);
	ck_assert_uint_eq(pages.free.free, pages.free.units - 2 * HEAPD_CHUNK_PAGES);
}
END_TEST

static void setup_supplied(void)
{
	testheap_init_with(&t, 64 * MIB, 64 * MIB, CONFIG_HUGE_NEVER, 0);
	ck_assert_int_eq(supply_init(t.heap), 0);
}

static void teardown_supplied(void)
{
	testheap_deinit(&t);
}

static uint64_t large(bool *zeroed)
{
	uint64_t address;

	ck_assert_int_eq(supply_large(t.heap, HEAPD_SIZECLASS_LARGE, OBJECT << HEAPD_PAGE_SHIFT, 16, 0,
				      &address, zeroed),
			 0);
	return (address - t.heap->t.base) >> HEAPD_PAGE_SHIFT;
}

/* From one object to the next in its place, by the sweep, with what the scavenger does. */
START_TEST(what_a_sweep_takes_back_is_cleared)
{
	struct sweep_counts swept;
	uint64_t first;
	bool zeroed;

	first = large(&zeroed);
	memset(page_at(first), 0xff, OBJECT << HEAPD_PAGE_SHIFT);
	holds_begin(t.heap);
	ck_assert_int_eq(holds_gather(t.heap), 0);
	holds_end(t.heap);
	sweeper_announce(t.heap);
	ck_assert(!pages_clean_begin(t.heap->pages));
	sweeper_run(t.heap, &swept);
	holds_drop(t.heap);
	ck_assert_uint_eq(swept.freed_objects, 1);
	clean_of(t.heap->pages);
	ck_assert_uint_eq(large(&zeroed), first);
	ck_assert(zeroed && is_all(first, OBJECT, 0));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("clean");
	TCase *tests = tcase_create("clean"), *supplied = tcase_create("supplied");

	tcase_set_timeout(tests, 30);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, as_much_as_large_objects_took);
	tcase_add_test(tests, what_is_clean_is_passed_over);
	tcase_add_test(tests, small_objects_do_not_count);
	tcase_add_test(tests, only_what_is_free_and_dirty);
	tcase_add_test(tests, at_the_limit_it_is_waited_for);
	suite_add_tcase(suite, tests);
	tcase_set_timeout(supplied, 30);
	tcase_add_checked_fixture(supplied, setup_supplied, teardown_supplied);
	tcase_add_test(supplied, what_a_sweep_takes_back_is_cleared);
	suite_add_tcase(suite, supplied);
	return testheap_run(suite);
}
