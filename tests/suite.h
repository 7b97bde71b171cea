/* SPDX-License-Identifier: MIT */
/* How every test program ends: its cases are run as CK_* of the environment say, and its exit status says whether all were right. */
#ifndef HEAPD_TESTS_SUITE_H
#define HEAPD_TESTS_SUITE_H

#include <check.h>
#include <stdlib.h>

static inline int suite_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
