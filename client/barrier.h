/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_BARRIER_H
#define HEAPD_CLIENT_BARRIER_H

#include "client/client.h"
#include "heapd/session.h"

struct barrier {
	struct heapd_thread *self; /* NULL: there is nothing to log to */
	bool away;                 /* the thread is offline but for this */
};

/*
 * Begins an operation of the calling thread, attaching it if need be, and online if it is not. True: the
 * barrier is on, so what the operation removes, and before the thread's scan what it adds, is to be shaded.
 * A process without an attachment has no heap memory to store
 * into. A thread that cannot be attached may have: what it removes unlogged is made good by beginning
 * the cycle again.
 */
hidden bool barrier_begin(struct barrier *b);
hidden void barrier_end(const struct barrier *b);

/* Inside an operation with the barrier on: tells the collector of a value, if it is one of the heap's. */
hidden void barrier_shade(struct heapd_thread *self, const void *value);

#endif
