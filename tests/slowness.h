/* SPDX-License-Identifier: MIT */
/*
 * For tests of how long something may take: what libcheck multiplies the time limits of tests by, where a sanitizer, or
 * valgrind, makes all of it slow, and others have the processors meanwhile. 1 if nobody says otherwise.
 */
#ifndef HEAPD_TESTS_SLOWNESS_H
#define HEAPD_TESTS_SLOWNESS_H

#include <stdint.h>
#include <stdlib.h>

static inline uint64_t slowness(void)
{
	const char *said = getenv("CK_TIMEOUT_MULTIPLIER");
	uint64_t times = said ? strtoull(said, NULL, 10) : 1;

	return times ? times : 1;
}

#endif
