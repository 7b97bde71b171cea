/* SPDX-License-Identifier: MIT */
/*
 * Which words of a stack, or of a range, are said: all that lie in the heap, in order, and no others. The test plays the daemon
 * and the agent.
 */
#include <check.h>

#include "client/handshake.h"
#include "fixture.h"
#include "handshakes.h"
#include "numbers.h"
#include "suite.h"

/*
 * A word as it may stand on a stack: often the one before it again, or none of the heap's, and so by no pattern; of each
 * `rare` one may be the heap's.
 */
static uint64_t word_draw(uint64_t *seed, uint64_t before, unsigned rare)
{
	uint64_t end = heap->t.base + heap->t.size, r = random_next(seed);
	const uint64_t words[] = { 0,
				   r | 1,
				   heap->t.base - 1,
				   end + 1,
				   before,
				   heap->t.base,
				   heap->t.base + (r >> 20) % heap->t.size,
				   end };

	return words[(r >> 8) & ((r >> 16) % rare ? 3 : 7)];
}

/* Of words, those in the heap that differ from the last such one; their number. */
static uint64_t words_expect(const uint64_t *words, uint64_t n, uint64_t *expected)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < n; i++)
		if (words[i] >= heap->t.base && words[i] <= heap->t.base + heap->t.size &&
		    !(count && expected[count - 1] == words[i]))
			expected[count++] = words[i];
	return count;
}

/* Those in the heap, repetitions with them. */
static uint64_t words_in(const uint64_t *words, uint64_t n)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < n; i++)
		count += words[i] >= heap->t.base && words[i] <= heap->t.base + heap->t.size;
	return count;
}

/*
 * All that is in the heap, in order, and of the rest nothing, wherever one share of the words ends and the next begins. A
 * repetition may be said, and may be left out.
 */
START_TEST(what_is_in_the_heap)
{
	static const uint64_t sizes[] = { 1ul << 20, 1ul << 32, (1ul << 32) + 4096, (30ul << 30) - 4096 };
	static uint64_t words[3001], expected[3001], said[3001];
	uint64_t seed = fixture_seed(), n, count;

	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	ck_assert_int_eq(heapd_range_add(heap, words, sizeof(words)), 0);
	heap->t.size = sizes[_i]; /* there only addresses are looked at */
	for (uint32_t cycle = 1; cycle <= 400; cycle++) {
		for (unsigned i = 0; i < 3001; i++)
			words[i] = word_draw(&seed, i ? words[i - 1] : 0, 1 + cycle % 200);
		n = words_expect(words, 3001, expected);
		phase_set(cycle, HEAPD_PHASE_SCAN);
		ck_assert(served(SOON_MS));
		count = heap->session->ranges_count;
		ck_assert_uint_ge(count, n);
		ck_assert_uint_le(count, words_in(words, 3001));
		ck_assert_uint_eq(words_in(range_words(), count), count);
		ck_assert_uint_eq(words_expect(range_words(), count, said), n);
		ck_assert_mem_eq(said, expected, n * 8);
		for (uint64_t i = count; i < 3001; i++)
			if (range_words()[i])
				ck_assert_uint_le(range_words()[i] - heap->t.base, heap->t.size);
	}
}
END_TEST

/* A deep recursion's stack says the same over and over: there is room for what else it says. */
START_TEST(repetitions_take_no_room)
{
	static uint64_t words[100000];

	for (unsigned i = 0; i < 100000; i++)
		words[i] = i % 3 ? 0 : address(i < 50000 ? 1 : 2);
	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	ck_assert_int_eq(heapd_range_add(heap, words, sizeof(words)), 0);
	phase_set(2, HEAPD_PHASE_SCAN);
	ck_assert(served(SOON_MS));
	ck_assert_uint_le(heap->session->ranges_count, 1600);
	ck_assert_uint_eq(range_words()[heap->session->ranges_count - 1], address(2));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stack");
	TCase *tcase = tcase_create("words");

	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_loop_test(tcase, what_is_in_the_heap, 0, 4);
	tcase_add_test(tcase, repetitions_take_no_room);
	suite_add_tcase(suite, tcase);

	return suite_run(suite);
}
