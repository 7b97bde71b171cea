/* SPDX-License-Identifier: MIT */
/*
 * Zeroing a small slot, in line. The compiler's own choice for a size that it does not know is a call.
 */
#ifndef HEAPD_CLIENT_ZERO_H
#define HEAPD_CLIENT_ZERO_H

#include <stdbool.h>
#include <stdint.h>

typedef long long two_words __attribute__((vector_size(16), aligned(8), may_alias));

static inline void clear16(char *at)
{
	*(two_words *)(void *)at = (two_words){ 0, 0 };
}

#if defined(__x86_64__)
/* Whether clear32_both() may be used: the processor has such registers, and the kernel saves them. */
static inline bool zero_is_wide(void)
{
	return __builtin_cpu_supports("avx");
}

/*
 * 32 bytes at each of two places. What bounds a run of allocations is how many stores of zeroes are on their way to the
 * cache: these are half as many. The register's upper half is cleared by a short form and only read by the stores, so
 * nothing is left behind that makes other code slow until a vzeroupper.
 */
static inline void clear32_both(char *first, char *second)
{
	struct bytes {
		char bytes[32];
	} *one = (struct bytes *)(void *)first, *other = (struct bytes *)(void *)second;

	__asm__("vpxor %%xmm0, %%xmm0, %%xmm0\n\t"
		"vmovdqu %%ymm0, %0\n\t"
		"vmovdqu %%ymm0, %1"
		: "=m"(*one), "=m"(*other)
		:
		: "xmm0");
}
#else
static inline bool zero_is_wide(void)
{
	return false;
}

static inline void clear32_both(char *first, char *second)
{
	clear16(first);
	clear16(first + 16);
	clear16(second);
	clear16(second + 16);
}
#endif

/*
 * Slots are a multiple of 8 bytes, 16 at least. Small ones, of up to 128, are cleared in line, from both ends, the stores
 * overlapping in the middle: a call costs more than the stores.
 */
static inline __attribute__((always_inline)) void *slot_zero_narrow(void *slot, uint64_t bytes)
{
	char *at = slot, *end = at + bytes;

	clear16(at);
	clear16(end - 16);
	if (bytes <= 32)
		return slot;
	clear16(at + 16);
	clear16(end - 32);
	if (bytes <= 64)
		return slot;
	clear16(at + 32);
	clear16(at + 48);
	clear16(end - 64);
	clear16(end - 48);
	return slot;
}

/* Of how many bytes at least a slot is to be cleared by 32 at a time: in one number, so that it is one comparison. */
static inline uint8_t zero_narrow(bool wide)
{
	return wide ? 32 : UINT8_MAX;
}

/* narrow: from zero_narrow(). */
static inline __attribute__((always_inline)) void *slot_zero_small(void *slot, uint64_t bytes, uint8_t narrow)
{
	char *at = slot, *end = at + bytes;

	if (bytes < narrow)
		return slot_zero_narrow(slot, bytes);
	clear32_both(at, end - 32);
	if (bytes > 64)
		clear32_both(at + 32, end - 64);
	return slot;
}

#endif
