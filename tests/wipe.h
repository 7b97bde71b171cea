/* SPDX-License-Identifier: MIT */
/*
 * For tests of what nobody holds any more: stacks are scanned conservatively, and what a call leaves behind lies there until it is
 * written over; frames of later calls have holes.
 */
#ifndef HEAPD_TESTS_WIPE_H
#define HEAPD_TESTS_WIPE_H

#include <stdint.h>

/* Instrumented, it would leave holes around its words. */
#define WIPE __attribute__((noinline, unused, no_sanitize("address", "thread", "undefined")))

/* Overwrites what earlier calls left below the caller's frame, and in registers. */
static WIPE void stack_wipe(void)
{
	uint64_t words[8192] = { 0 };

	__asm__ volatile("" : : "r"(words) : "memory");
	__asm__ volatile("" ::: "rbx", "r12", "r13", "r14", "r15", "memory");
}

#endif
