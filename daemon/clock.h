/* SPDX-License-Identifier: MIT */
/*
 * clock.h - the monotonic clock in nanoseconds, and futexes on shared words.
 */
#pragma once

#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static inline uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Processor time of the calling thread: other programs' share of the machine is not in it. */
static inline uint64_t clock_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Sleeps while *word is `expected`, at most ns nanoseconds; may return early. */
static inline void futex_wait(const uint32_t *word, uint32_t expected, uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

	syscall(SYS_futex, word, FUTEX_WAIT, expected, &ts, NULL, 0);
}

/* The n that have waited longest. */
static inline long futex_wake(const uint32_t *word, int n)
{
	return syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
}

static inline void futex_wake_all(const uint32_t *word)
{
	futex_wake(word, INT_MAX);
}
