/* SPDX-License-Identifier: MIT */
/*
 * Zeroing a small slot, in line. The compiler's own choice for a size that it does not know is a call.
 */
#ifndef HEAPD_CLIENT_ZERO_H
#define HEAPD_CLIENT_ZERO_H

#include <stdint.h>

typedef long long two_words __attribute__((vector_size(16), aligned(8), may_alias));

static inline void clear16(char *at)
{
	*(two_words *)(void *)at = (two_words){ 0, 0 };
}

/*
 * Slots are a multiple of 8 bytes, 16 at least. Small ones are cleared in line, from both ends, the stores
 * overlapping in the middle: a call costs more than the stores.
 */
static inline __attribute__((always_inline)) void *slot_zero_small(void *slot, uint64_t bytes)
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

#endif
