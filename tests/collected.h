/* SPDX-License-Identifier: MIT */
/* For tests of what a collection finds: an object of which only earlier calls knew is to be found by nobody. */
#ifndef HEAPD_TESTS_COLLECTED_H
#define HEAPD_TESTS_COLLECTED_H

#include "attached.h"
#include "wipe.h"

static inline void collect(void)
{
	stack_wipe();
	ck_call(heapd_collect(heap));
}

#endif
