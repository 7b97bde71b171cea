/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_SAMPLE_H
#define HEAPD_CLIENT_SAMPLE_H

#include "client.h"

/*
 * In a function that others jump to rather than call: makes it keep a frame pointer, so that a sample's stack shows who
 * called in. The files on the rest of the way are built with frame pointers (Makefile); the fast path needs none.
 */
#define SAMPLE_FRAME() __asm__ volatile("" : : "r"(__builtin_frame_address(0)))

/*
 * The calling thread has just taken `bytes` of slots from the supply for itself and whoever allocates after it here,
 * and allocated the first, `address`. That becomes a sample with a chance that grows with the bytes. Only to be called
 * while somebody looks (HEAPD_PROBED(sample)).
 */
hidden void sample_take(struct heapd_heap *heap, uint32_t class, uint64_t size, uint64_t address,
			uint64_t bytes);

/* Whether this slow allocation, if it waits for nobody, is the one of SAMPLE_SLOW that is shown. */
#define SAMPLE_SLOW 4096u
hidden bool sample_slow(void);

#endif
