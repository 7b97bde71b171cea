/* SPDX-License-Identifier: MIT */
/*
 * What the sweep has to leave: slots that were in clients' hands, free, since the cycle's note P. And the state of
 * the mark words when marking begins. All take heap->lock.
 */
#ifndef HEAPD_DAEMON_HOLDS_H
#define HEAPD_DAEMON_HOLDS_H

#include "heap.h"

/*
 * Note P: from here on, taking is holding. What was freed before and not taken back yet is left to the sweep; with
 * Free=checked it is noted as doomed.
 */
void holds_begin(struct heap *heap);

/* Step 3, when the barrier is on everywhere: what clients hold free now. -ENOMEM: the cycle is void. */
int holds_gather(struct heap *heap);

/* Note P2, when all have been scanned: the mark words are set, what is taken from here on is black from its birth. */
void holds_end(struct heap *heap);

/* After the sweep, or when the cycle is void: what was freed is taken back as before. */
void holds_drop(struct heap *heap);

#endif
