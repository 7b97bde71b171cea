/* SPDX-License-Identifier: MIT */
/*
 * For heapctl, by LD_PRELOAD: each look at the monotonic clock finds CLOCK_STEP_MS milliseconds more than the one before, and nothing of
 * the time that passes. So work is long, or takes no time, whatever the machine.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *t)
{
	static atomic_long looks;
	const char *step = getenv("CLOCK_STEP_MS");
	long ms = (1 + atomic_fetch_add(&looks, 1)) * (step ? strtol(step, NULL, 10) : 0);

	if (clock != CLOCK_MONOTONIC)
		return (int)syscall(SYS_clock_gettime, clock, t);
	*t = (struct timespec){ .tv_sec = 1000 + ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
	return 0;
}
