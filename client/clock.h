/* SPDX-License-Identifier: MIT */
/* The monotonic clock in nanoseconds, and deadlines on it that never overflow. */
#ifndef HEAPD_CLIENT_CLOCK_H
#define HEAPD_CLIENT_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_MS    1000000ull
#define CLOCK_NEVER UINT64_MAX

static inline uint64_t clock_read(clockid_t clock)
{
	struct timespec t = { 0 };

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static inline uint64_t clock_now(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

/*
 * The processor time of a thread of this process, or, with 0, of the caller; 0 if there is no such thread. A system call.
 * The clock's number is made of the thread's as the kernel and pthread_getcpuclockid(3) do.
 */
static inline uint64_t clock_thread(uint32_t tid)
{
	return clock_read(tid ? (clockid_t)(~tid << 3 | 6) : CLOCK_THREAD_CPUTIME_ID);
}

static inline uint64_t clock_deadline(uint64_t ns)
{
	uint64_t now = clock_now();

	return ns > CLOCK_NEVER - now ? CLOCK_NEVER : now + ns;
}

static inline struct timespec clock_timespec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000ull),
				  .tv_nsec = (long)(ns % 1000000000ull) };
}

#endif
