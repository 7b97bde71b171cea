/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_BARRIER_H
#define HEAPD_CLIENT_BARRIER_H

#include "client/client.h"
#include "heapd/session.h"

struct barrier {
	struct heapd_thread *self; /* NULL: there is nothing to log to */
	bool away;                 /* the thread is offline but for this */
	uint32_t on;               /* what the gate said */
	uint64_t now;              /* what the directory said, if it is on */
};

/*
 * Begins an operation of the calling thread, which is attached, and online for it if it is not. True: the
 * barrier is on, so what the operation removes, and before the thread's scan what it adds, is to be shaded.
 */
hidden bool barrier_begin(struct barrier *b);
/* Ends it, and is a safepoint if the barrier was on. */
hidden void barrier_end(const struct barrier *b);

/*
 * Inside an operation of the thread's gate: whether its barrier is on; the cycle that it is on for, or
 * HEAPD_GATE_UNSURE, or 0. One that a cycle left on when it ended is switched off.
 */
hidden uint32_t barrier_on(const struct heapd_heap *heap, struct heapd_thread *self);

/* Inside an operation with the barrier on: tells the collector of a value, if it is one of the heap's. */
hidden void barrier_shade(struct heapd_thread *self, const void *value);

/* Of a record that another thread gets: what stands there of its barrier ring was another thread's view. */
hidden void barrier_forget(struct heapd_thread *self);

#endif
