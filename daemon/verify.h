/* SPDX-License-Identifier: MIT */
/*
 * Recomputes the heap's invariants from scratch.
 */
#ifndef HEAPD_VERIFY_H
#define HEAPD_VERIFY_H

#include "heapd/message.h"
#include "supply.h"

/*
 * Checks I1 to I4 and I14 over the whole heap, with clients running: takes heap->lock, so that the ledger
 * stands still. Fills the reply: faults (0: clean), the first one in words, and what lies where in bytes
 * (exact while no client allocates or frees). 0 or -ENOMEM.
 */
int verify_heap(struct heap *heap, struct heapd_verify_reply *reply);

#endif
