/* SPDX-License-Identifier: MIT */
/*
 * Counting bits in line: __builtin_popcountll() is a call where the processor is not known to have an instruction for it. The
 * sums of neighbours, then of these, in one word (Warren, Hacker's Delight, 5-1).
 */
#ifndef HEAPD_COUNT_H
#define HEAPD_COUNT_H

#include <stdint.h>

static inline uint64_t heapd_count_bits(uint64_t word)
{
	word -= word >> 1 & 0x5555555555555555u;
	word = (word & 0x3333333333333333u) + (word >> 2 & 0x3333333333333333u);
	word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
	return word * 0x0101010101010101u >> 56;
}

#endif
