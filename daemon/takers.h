/* SPDX-License-Identifier: MIT */
/*
 * takers.h - the users of a heap: what each has of it, and who gets no more.
 *
 * With heap->lock held, but for those that take it. What is kept for a user is heap_set_share()'s.
 */
#ifndef HEAPD_DAEMON_TAKERS_H
#define HEAPD_DAEMON_TAKERS_H

#include "supply.h"

struct taken {
	uint64_t bytes, most, share; /* that a user has, and may have; that are kept for it */
	bool full, waits;            /* it gets no more; and has asked for it */
};

int takers_init(struct supply *supply);
void takers_deinit(struct supply *supply);

/* Of each round of the supplier: counts a piece, says who is full, and answers who asks. */
void takers_round(struct supply *supply, uint64_t now);
/* The next round is due at once. */
bool takers_busy(const struct supply *supply);

/* Counts all anew if so much more would be too much for somebody. Takes heap->lock. */
void takers_settle(struct heap *heap, uint64_t more);
/* Counts all anew, also where there is room for everybody. The main thread's. Takes heap->lock. */
void takers_count(struct heap *heap);
/* May the user of the process at that place have so many bytes at once? As of the last count: 0 or -EDQUOT, logged. */
int takers_allow(struct supply *supply, unsigned client, uint64_t bytes);
/* What a user has and may have, as of the last count; nothing for who only reads. Takes heap->lock. */
struct taken takers_taken(struct heap *heap, uid_t uid);
/* A large object's span is that user's. */
void takers_note(const struct supply *supply, unsigned client, uint32_t first);

#endif
