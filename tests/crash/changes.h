/* SPDX-License-Identifier: MIT */
/* changes.h - each bit and each word that a client can write to, changed, with the daemon at work while the change stands. */
#ifndef HEAPD_CRASH_CHANGES_H
#define HEAPD_CRASH_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "demands.h"
#include "hostile.h"
#include "loaded.h"

#define CHANGES_GROUP 512u /* words that nobody loads, changed at once, at most */

/* An attacker leaves it to the next one when it is killed. */
struct changes_count {
	uint64_t bits, words;
	uint64_t alone, together; /* words, by themselves, and in groups */
	uint64_t place, step;     /* words begun with, and changes of the last one that are done */
};

/* Offsets into control. */
struct changes_group {
	uint64_t at[CHANGES_GROUP], before[CHANGES_GROUP];
	unsigned n;
};

struct changes {
	struct demands *demands;
	struct changes_count *count; /* in memory shared by who attacks in turn */
	const struct loaded *loaded; /* the words of control that the daemon loads */
	bool idle;                   /* of the others only; whether it loads one of them then is noted */
	unsigned most;               /* of 64, by the seed, each by itself; 0: all */
	unsigned grouped;            /* CHANGES_GROUP, or less */
	uint64_t seed;               /* not 0 */
	/* Begin as 0. */
	uint64_t place;
	struct changes_group group;
};

/* `count` stands before the first of the heap's words that are to be changed: those before the place'th are passed over. */
void changes_begin(struct changes_count *count, uint64_t place);
/* All that is left of them. */
void changes_make(struct changes *c, struct hostile *h);

#endif
