/* SPDX-License-Identifier: MIT */
/* Open edits: what is noted of them, what is shaded as they begin and end, and what is refused. */
#include "client/client.h"

#include <check.h>
#include <errno.h>

#include "barriers.h"
#include "suite.h"

START_TEST(edit_shades_at_both_ends)
{
	objects[0] = address(1);
	objects[1] = address(2);
	barrier_up();
	ck_assert_int_eq(heapd_edit_begin(&objects[0], 16), 0);
	ck_assert_uint_eq(heapd_self->edits[0].start, (uint64_t)(uintptr_t)&objects[0]);
	ck_assert_uint_eq(heapd_self->edits[0].bytes, 16);
	ck_logged(address(1));
	ck_logged(address(2));
	ck_nothing_logged();
	objects[0] = address(3);
	objects[1] = NULL;
	ck_assert_int_eq(heapd_edit_end(&objects[0]), 0);
	ck_logged(address(3));
	ck_nothing_logged();
	ck_assert_uint_eq(heapd_self->edits[0].start, 0);
	ck_assert_uint_eq(heapd_self->edits[0].bytes, 0);
}
END_TEST

START_TEST(edit_off_records_only)
{
	objects[0] = address(1);
	ck_assert_int_eq(heapd_edit_begin((char *)&objects[0] + 3, 6), 0);
	ck_assert_uint_eq(heapd_self->edits[0].start, (uint64_t)(uintptr_t)&objects[0]);
	ck_assert_uint_eq(heapd_self->edits[0].bytes, 16);
	ck_assert_int_eq(heapd_edit_end((char *)&objects[0] + 3), 0);
	ck_nothing_logged();
}
END_TEST

START_TEST(edit_refuses)
{
	for (unsigned i = 0; i < HEAPD_EDIT_COUNT; i++)
		ck_assert_int_eq(heapd_edit_begin(&objects[i], 8), 0);
	ck_assert_int_eq(heapd_edit_begin(&objects[9], 8), -ENOSPC);
	ck_assert_int_eq(heapd_edit_end(&objects[9]), -EINVAL);
	ck_assert_int_eq(heapd_edit_end(&objects[1]), 0);
	ck_assert_int_eq(heapd_edit_end(&objects[1]), -EINVAL);
	ck_assert_int_eq(heapd_edit_begin(&objects[0], HEAPD_EDIT_MAX + 1ul), -E2BIG);
	ck_assert_int_eq(heapd_edit_begin(&objects[0], 0), -EINVAL);
	ck_assert_int_eq(heapd_edit_begin(NULL, 8), -EINVAL);
	ck_assert_int_eq(heapd_edit_end(NULL), -EINVAL);
	ck_assert_int_eq(heapd_edit_begin(&objects[9], 8), 0);
	ck_assert_int_eq(heapd_thread_detach(heap), -EBUSY);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("edit");
	TCase *edits = tcase_create("edits");

	tcase_add_checked_fixture(edits, setup, NULL);
	tcase_add_test(edits, edit_shades_at_both_ends);
	tcase_add_test(edits, edit_off_records_only);
	tcase_add_test(edits, edit_refuses);
	suite_add_tcase(suite, edits);

	return suite_run(suite);
}
