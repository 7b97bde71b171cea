/* SPDX-License-Identifier: MIT */
/*
 * For tests of what a collection finds: an object of which only earlier calls knew is to be found by nobody. Stacks are
 * scanned conservatively, and what a call leaves behind lies there until it is written over.
 */
#ifndef HEAPD_TESTS_COLLECTED_H
#define HEAPD_TESTS_COLLECTED_H

#include "attached.h"

/* Instrumented, it would leave holes around its words. */
#define COLLECTED_WIPE __attribute__((noinline, unused, no_sanitize("address", "thread", "undefined")))

/* Overwrites what earlier calls left below the caller's frame, and in registers. */
static COLLECTED_WIPE void stack_wipe(void)
{
	uint64_t words[8192] = { 0 };

	__asm__ volatile("" : : "r"(words) : "memory");
	__asm__ volatile("" ::: "rbx", "r12", "r13", "r14", "r15", "memory");
}

static inline void collect(void)
{
	stack_wipe();
	ck_call(heapd_collect(heap));
}

#endif
