/* SPDX-License-Identifier: MIT */
/*
 * Delays between two steps that others may come between: where DELAY() stands, a build for the stress
 * (-DHEAPD_INJECT) stops now and then for a while, by chance. In every other build it is nothing.
 *
 * HEAPD_DELAY_US in the environment is the longest one, but that one in 32 lasts up to 32 times as long; 0, or
 * nothing there: none.
 */
#ifndef HEAPD_DELAY_H
#define HEAPD_DELAY_H

#ifdef HEAPD_INJECT
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t heapd_delay_random(void)
{
	static __thread uint64_t state __attribute__((tls_model("initial-exec")));

	if (!state) {
		struct timespec t;
		clock_gettime(CLOCK_MONOTONIC, &t);
		state = ((uint64_t)t.tv_nsec * 0x9e3779b97f4a7c15ull + (uint64_t)(uintptr_t)&state) | 1;
	}
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state >> 8;
}

static inline void heapd_delay(uint32_t one_in)
{
	static int most = -1;
	int error = errno;

	if (most < 0) {
		const char *text = getenv("HEAPD_DELAY_US");
		most = text ? atoi(text) : 0;
	}
	if (most && heapd_delay_random() % one_in == 0) {
		long us = (long)(heapd_delay_random() % (uint64_t)most);
		if (heapd_delay_random() % 32 == 0)
			us *= 32;
		nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
	}
	errno = error;
}
/* Once in so many times. */
#define DELAY(one_in) heapd_delay(one_in)
#else
#define DELAY(one_in) ((void)0)
#endif

#endif
