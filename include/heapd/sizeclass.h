/* SPDX-License-Identifier: MIT */
/*
 * Size classes: the slot sizes of untyped objects, and of arrays and flexible objects of a type.
 *
 * 16 to 128 bytes in steps of 16, from there eight steps to each doubling, up to 32 KiB: at most
 * 12.5 % is lost to rounding above 128 bytes. The table is computed, never stored, so client and
 * daemon cannot disagree. Larger objects have the pseudo class HEAPD_SIZECLASS_LARGE and spans of
 * their own. The scheme is jemalloc's and tcmalloc's.
 */
#ifndef HEAPD_SIZECLASS_H
#define HEAPD_SIZECLASS_H

#include <stdint.h>

#define HEAPD_SMALL_MAX       32768u
#define HEAPD_SIZECLASS_COUNT 72u
#define HEAPD_SIZECLASS_LARGE HEAPD_SIZECLASS_COUNT
#define HEAPD_SIZECLASS_TOTAL (HEAPD_SIZECLASS_COUNT + 1u)

/* size must be 1..HEAPD_SMALL_MAX; 0 is counted as 1. */
static inline uint32_t heapd_sizeclass_of(uint64_t size)
{
	if (size <= 128)
		return size ? (uint32_t)((size - 1) >> 4) : 0;
	uint32_t log = 63u - (uint32_t)__builtin_clzll(size - 1);
	return 8u * (log - 6u) + (uint32_t)((size - 1) >> (log - 3u)) - 8u;
}

static inline uint32_t heapd_sizeclass_size(uint32_t class)
{
	if (class < 8)
		return (class + 1) << 4;
	return (9u + (class & 7u)) << (class / 8u + 3u);
}

_Static_assert(HEAPD_SMALL_MAX == (9u + 7u) << (71u / 8u + 3u), "the last size class is HEAPD_SMALL_MAX");

#endif
