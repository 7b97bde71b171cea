/* SPDX-License-Identifier: MIT */
/* Numbers for tests: drawn by a seed, and put in order. */
#ifndef HEAPD_TESTS_NUMBERS_H
#define HEAPD_TESTS_NUMBERS_H

#include <stdint.h>

/* The next of the sequence that begins with any *state but 0 (xorshift64*, Vigna). */
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

/* For qsort() of uint64_t. */
static inline int numbers_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

#endif
