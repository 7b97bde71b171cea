/* SPDX-License-Identifier: MIT */
/*
 * takers.h - the users of a heap: what each has of it, and who gets no more.
 *
 * With heap->lock held, but for takers_settle(). What is kept for a user is heap_set_share()'s.
 */
#ifndef HEAPD_DAEMON_TAKERS_H
#define HEAPD_DAEMON_TAKERS_H

#include "supply.h"

struct taken {
	uint64_t bytes, most; /* that a user has, and that it may have */
};

int takers_init(struct supply *supply);
void takers_deinit(struct supply *supply);

/* Of each round of the supplier: counts a piece, says who is full, and answers who asks. */
void takers_round(struct supply *supply, uint64_t now);
/* The next round is due at once. */
bool takers_busy(const struct supply *supply);

/* Counts all anew if so much more would be too much for somebody. Takes heap->lock. */
void takers_settle(struct heap *heap, uint64_t more);
/* May the user of the process at that place have so many bytes at once? As of the last count: 0 or -EDQUOT, logged. */
int takers_allow(struct supply *supply, unsigned client, uint64_t bytes);
/* What it has and may have. Takes heap->lock. */
struct taken takers_taken(struct heap *heap, unsigned client);
/* A large object's span is that user's. */
void takers_note(const struct supply *supply, unsigned client, uint32_t first);

#endif
