/* SPDX-License-Identifier: MIT */
/*
 * Small slots of each size there can be, by wide stores and by narrow ones: every byte of the slot is zero, none around it.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../client/zero.h"
#include "objects.h"
#include "suite.h"

#define AROUND  64u
#define LARGEST 128u

static void zero_one(uint64_t bytes, bool wide)
{
	unsigned char memory[AROUND + LARGEST + AROUND] __attribute__((aligned(64)));

	memset(memory, 0xa5, sizeof(memory));
	ck_assert_ptr_eq(slot_zero_small(memory + AROUND, bytes, zero_narrow(wide)), memory + AROUND);
	for (uint64_t i = 0; i < sizeof(memory); i++)
		ck_must(memory[i] == (i - AROUND < bytes ? 0 : 0xa5), "byte %ld of a slot of %lu, %s stores",
			(long)i - (long)AROUND, (unsigned long)bytes, wide ? "wide" : "narrow");
}

START_TEST(narrow)
{
	for (uint64_t bytes = 16; bytes <= LARGEST; bytes += 8)
		zero_one(bytes, false);
}
END_TEST

START_TEST(wide)
{
	if (!zero_is_wide()) {
		puts("SKIP wide: the processor has no AVX");
		return;
	}
	for (uint64_t bytes = 16; bytes <= LARGEST; bytes += 8)
		zero_one(bytes, true);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("zero");
	TCase *tests = tcase_create("zero");

	tcase_add_test(tests, narrow);
	tcase_add_test(tests, wide);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
