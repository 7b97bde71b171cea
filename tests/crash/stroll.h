/* SPDX-License-Identifier: MIT */
/* stroll.h - calls of all kinds, one after the other, drawn from a seed, and what happens in between. */
#ifndef HEAPD_CRASH_STROLL_H
#define HEAPD_CRASH_STROLL_H

#include "scene.h"

/* Where and with what the scene's heap is attached just now. barrier: what is held up beside it; nothing waits for that. */
void stroll(struct scene *s, uint64_t seed, enum barrier barrier);

static inline uint64_t stroll_draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * UINT64_C(0x2545f4914f6cdd1d) >> 8;
}

#endif
