/* SPDX-License-Identifier: MIT */
/*
 * Clearing past the cache: without a read of what was there, and leaving in the cache what is.
 */
#ifndef HEAPD_STREAM_H
#define HEAPD_STREAM_H

#include <stdint.h>

#if defined(__x86_64__)
#include <emmintrin.h>

/* at: on a line's boundary. Whole lines; returns how many bytes those are. */
static inline uint64_t heapd_stream_clear(char *at, uint64_t bytes)
{
	const __m128i zero = _mm_setzero_si128();
	uint64_t done = 0;

	for (; done + 64 <= bytes; done += 64)
		for (unsigned i = 0; i < 64; i += 16)
			_mm_stream_si128((__m128i *)(void *)(at + done + i), zero);
	/* Such stores are in no order with later ones: with the one, for others, by which the memory becomes known. */
	_mm_sfence();
	return done;
}
#else
static inline uint64_t heapd_stream_clear(char *at, uint64_t bytes)
{
	(void)at, (void)bytes;
	return 0;
}
#endif

#endif
