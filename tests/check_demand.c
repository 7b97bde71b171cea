/* SPDX-License-Identifier: MIT */
/* One round of supply after the other, where no supplier's thread makes them: how long it lets that nap. */
#include <unistd.h>

#include "testheap.h"

#define SIZE (64 * MIB)

static struct testheap t;

static void setup(void)
{
	testheap_init(&t, SIZE, SIZE);
	ck_assert_int_eq(supply_init(t.heap), 0);
}

static void teardown(void)
{
	testheap_is_clean(&t);
	testheap_deinit(&t);
}

static uint64_t slots_of(const struct heapd_batch *b)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < HEAPD_BATCH_MAX; i++)
		n += (uint64_t)__builtin_popcountll(b->masks[i]);
	return n;
}

/* Where no supplier runs: asks for a class, and takes what there is then. Bytes. */
static uint64_t drain(uint32_t class)
{
	uint64_t slots = 0;
	struct heapd_batch b;

	testheap_demand(&t, class);
	supply_round(t.heap);
	while (testheap_take(&t, class, &b)) {
		slots += slots_of(&b);
		testheap_free(&t, &b, UINT64_MAX);
	}
	return slots * t.heap->t.classes[class].slot_size;
}

/* How long it may nap `ms` after so much was taken. */
static uint64_t nap_after(uint32_t class, uint64_t bytes, unsigned ms)
{
	uint64_t begin, passed, nap;

	do {
		while (drain(class) < bytes)
			;
		begin = clock_ns();
		usleep(ms * 1000);
		nap = supply_round(t.heap);
		passed = clock_ns() - begin;
	} while (passed > (ms + 2) * 1000000ull); /* others kept us from a processor */
	return nap;
}

/* Naps are long where little is taken meanwhile, and short where much is. */
START_TEST(naps_are_as_long_as_little_is_taken)
{
	uint32_t class = heapd_sizeclass_of(64);

	ck_assert_uint_eq(nap_after(class, 1, 40), SUPPLY_NAP_CALM_NS);
	ck_assert_uint_eq(nap_after(class, MIB / 4, 2), SUPPLY_NAP_NS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("demand");
	TCase *tests = tcase_create("naps");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, naps_are_as_long_as_little_is_taken);
	suite_add_tcase(suite, tests);
	return testheap_run(suite);
}
