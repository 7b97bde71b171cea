/* SPDX-License-Identifier: MIT */
/* Sentences: each thread has its own, and the text of the last failure stands until the next. */
#include "client/client.h"
#include "suite.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

START_TEST(nothing_yet)
{
	ck_assert_str_eq(heapd_error(), "no error");
}
END_TEST

START_TEST(sets_all_three)
{
	errno = 0;
	ck_assert_int_eq(error_set(ENOSPC, "no room for %d in '%s'", 3, "here"), -ENOSPC);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_str_eq(heapd_error(), "no room for 3 in 'here'");
	ck_assert_ptr_null(error_null(EINVAL, "second"));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_str_eq(heapd_error(), "second");
}
END_TEST

START_TEST(may_quote_the_one_before)
{
	error_set(EIO, "inner");
	error_set(EIO, "outer: %s", heapd_error());
	ck_assert_str_eq(heapd_error(), "outer: inner");
}
END_TEST

START_TEST(long_ones_are_cut)
{
	char name[5000];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	error_set(EINVAL, "%s", name);
	ck_assert_uint_gt(strlen(heapd_error()), 400);
	ck_assert_uint_lt(strlen(heapd_error()), 1000);
}
END_TEST

static void *other_thread(void *unused)
{
	(void)unused;
	ck_assert_str_eq(heapd_error(), "no error");
	error_set(EINVAL, "theirs");
	ck_assert_str_eq(heapd_error(), "theirs");
	return NULL;
}

START_TEST(threads_have_their_own)
{
	pthread_t thread;

	error_set(EINVAL, "mine");
	ck_assert_int_eq(pthread_create(&thread, NULL, other_thread, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert_str_eq(heapd_error(), "mine");
}
END_TEST

/* Whoever has not looked at what attaching returned is told so, by each call of a heap's. */
START_TEST(no_heap_is_refused)
{
	ck_assert_int_eq(heapd_collect(NULL), -ENODEV);
	ck_assert_int_eq(heapd_collect_start(NULL), -ENODEV);
	ck_assert_int_eq(heapd_sync(NULL), -ENODEV);
	ck_assert_ptr_nonnull(strstr(heapd_error(), "heapd_attach"));
}
END_TEST

START_TEST(version_is_the_headers)
{
	ck_assert_uint_eq(heapd_version(), HEAPD_VERSION);
	ck_assert_uint_eq(heapd_version() >> 16, HEAPD_VERSION_MAJOR);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("error");
	TCase *tests = tcase_create("sentences");

	tcase_add_test(tests, nothing_yet);
	tcase_add_test(tests, sets_all_three);
	tcase_add_test(tests, may_quote_the_one_before);
	tcase_add_test(tests, long_ones_are_cut);
	tcase_add_test(tests, threads_have_their_own);
	tcase_add_test(tests, no_heap_is_refused);
	tcase_add_test(tests, version_is_the_headers);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
