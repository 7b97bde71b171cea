/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_SAMPLE_H
#define HEAPD_CLIENT_SAMPLE_H

#include "client.h"

/*
 * In a function that others jump to rather than call: makes it keep a frame pointer, so that a sample's stack shows who
 * called in. The files on the rest of the way are built with frame pointers (Makefile); the fast path needs none.
 */
#define SAMPLE_FRAME() __asm__ volatile("" : : "r"(__builtin_frame_address(0)))

#define SAMPLE_SLOW  4096u
#define SAMPLE_NEVER (1ll << 62)

/* A thread's: sample.c says what it is for. */
struct sampling {
	int64_t left;     /* bytes until the next mark; 0: none was drawn yet */
	uint64_t mean;    /* as it was when somebody looked last: bytes; 0: nothing is sampled */
	uint32_t stretch; /* a power of two */
	uint32_t last;    /* when the last sample was: only small differences matter */
	bool timed;       /* the time of the next slow allocation is taken */
};
extern hidden __thread struct sampling heapd_sampling __attribute__((tls_model("initial-exec")));

hidden void sample_mean_set(uint64_t wanted, uint64_t address) __attribute__((cold));
hidden void sample_show(struct heapd_heap *heap, uint32_t class, uint64_t size, uint64_t address,
			uint64_t bytes) __attribute__((noinline, cold));

/*
 * The calling thread has just taken `bytes` of slots from the supply for itself and whoever allocates after it here,
 * and allocated the first, `address`. That becomes a sample with a chance that grows with the bytes. Only to be called
 * while somebody looks (HEAPD_PROBED(sample)).
 */
static inline void sample_take(struct heapd_heap *heap, uint32_t class, uint64_t size, uint64_t address,
			       uint64_t bytes)
{
	struct sampling *s = &heapd_sampling;
	uint64_t wanted = HEAPD_READ_ONCE(heap->t.directory->sample_bytes);

	if (unlikely(wanted != s->mean))
		sample_mean_set(wanted, address);
	s->left -= (int64_t)bytes;
	if (unlikely(s->left <= 0))
		sample_show(heap, class, size, address, bytes);
}

/*
 * A slow allocation is done, and somebody looks: of those that wait for nobody, is the next one of SAMPLE_SLOW shown? The nth
 * is by where multiples of the golden ratio fall, which are spread evenly, and out of step with whatever comes at regular
 * intervals: n counts those, too, that did not come this way.
 */
static inline void sample_slow(uint32_t n)
{
	if (unlikely(n * 0x9e3779b9u < (1ull << 32) / SAMPLE_SLOW))
		heapd_sampling.timed = true;
}

#endif
