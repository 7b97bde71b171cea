/* SPDX-License-Identifier: MIT */
/*
 * A ring of one producer and one consumer, the same code for every contender.
 *
 * tail and head are told to the other side once every BENCH_RING_STEP entries, so that the ring itself costs
 * little. What a slot holds is the contender's: a pointer, or where addresses differ, a handle. 0 ends a run.
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <sched.h>
#include <stdint.h>

#define BENCH_RING_SLOTS 2048u
#define BENCH_RING_STEP  64u
#define BENCH_RING_SPINS 200u

struct bench_ring {
	uint64_t tail __attribute__((aligned(128)));
	uint64_t head __attribute__((aligned(128)));
	void *slots[BENCH_RING_SLOTS] __attribute__((aligned(128)));
};

static inline void bench_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* The other side has got so far; spins first, then lets another process run. */
static inline uint64_t bench_ring_wait(const uint64_t *word, uint64_t least)
{
	uint64_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);

	for (unsigned spins = 0; seen < least; spins++) {
		if (spins >= BENCH_RING_SPINS)
			sched_yield();
		else
			bench_pause();
		seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	}
	return seen;
}

#endif
