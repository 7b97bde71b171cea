/* SPDX-License-Identifier: MIT */
/* crowd.h - clients of all kinds, one after the other, without end. */
#ifndef HEAPD_CRASH_CROWD_H
#define HEAPD_CRASH_CROWD_H

#include <stdint.h>

#include "scene.h"

/* Between the crowd and who looks at it, in memory that they share. */
struct crowd_words {
	_Atomic uint32_t tickets; /* were issued since somebody looked, for a second each */
	_Atomic uint32_t rest;    /* the crowd is to stay away; 2: it does */
	_Atomic uint32_t left;    /* operations until it says that they are done */
	_Atomic uint32_t done;
};

struct crowd {
	struct scene *scene;
	struct crowd_words *words;
	const char *chore; /* it does nothing but that; NULL: all that there is */
	uint64_t seed;
};

/* Until the board says stop; in a process that has attached. */
int crowd_run(void *crowd);

static inline uint64_t crowd_draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
