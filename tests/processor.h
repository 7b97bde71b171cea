/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_TESTS_PROCESSOR_H
#define HEAPD_TESTS_PROCESSOR_H

#include <check.h>
#include <sched.h>

/* Everything on one CPU: what the fast paths do is the same every time. */
static inline void cpu_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(set), &set), 0);
}

#endif
