/* SPDX-License-Identifier: MIT */
/* The size classes: every size has the smallest slot that holds it, and little is lost. */
#include <check.h>
#include <stdlib.h>

#include "heapd/sizeclass.h"
#include "suite.h"

START_TEST(every_size_gets_the_smallest_slot_that_holds_it)
{
	for (uint32_t size = 1; size <= HEAPD_SMALL_MAX; size++) {
		uint32_t class = heapd_sizeclass_of(size);

		ck_assert_uint_lt(class, HEAPD_SIZECLASS_COUNT);
		ck_assert_uint_ge(heapd_sizeclass_size(class), size);
		if (class)
			ck_assert_uint_lt(heapd_sizeclass_size(class - 1), size);
	}
	ck_assert_uint_eq(heapd_sizeclass_of(0), 0);
}
END_TEST

START_TEST(every_class_is_found_by_its_own_size)
{
	for (uint32_t class = 0; class < HEAPD_SIZECLASS_COUNT; class ++)
		ck_assert_uint_eq(heapd_sizeclass_of(heapd_sizeclass_size(class)), class);
	ck_assert_uint_eq(heapd_sizeclass_size(0), 16);
	ck_assert_uint_eq(heapd_sizeclass_size(7), 128);
	ck_assert_uint_eq(heapd_sizeclass_size(8), 144);
	ck_assert_uint_eq(heapd_sizeclass_size(15), 256);
	ck_assert_uint_eq(heapd_sizeclass_size(HEAPD_SIZECLASS_COUNT - 1), HEAPD_SMALL_MAX);
}
END_TEST

START_TEST(rounding_loses_an_eighth_at_most)
{
	for (uint32_t size = 129; size <= HEAPD_SMALL_MAX; size++) {
		uint32_t slot = heapd_sizeclass_size(heapd_sizeclass_of(size));

		ck_assert_uint_le((slot - size) * 8, slot);
	}
}
END_TEST

START_TEST(slots_are_multiples_of_16)
{
	for (uint32_t class = 0; class < HEAPD_SIZECLASS_COUNT; class ++)
		ck_assert_uint_eq(heapd_sizeclass_size(class) % 16, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sizeclass");
	TCase *tests = tcase_create("sizeclass");

	tcase_add_test(tests, every_size_gets_the_smallest_slot_that_holds_it);
	tcase_add_test(tests, every_class_is_found_by_its_own_size);
	tcase_add_test(tests, rounding_loses_an_eighth_at_most);
	tcase_add_test(tests, slots_are_multiples_of_16);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
