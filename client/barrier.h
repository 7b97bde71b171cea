/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_BARRIER_H
#define HEAPD_CLIENT_BARRIER_H

#include "client/client.h"
#include "heapd/session.h"

/*
 * Begins an operation of the calling thread, attaching it if need be. True: the barrier is on, so
 * what the operation removes, and before the thread's scan what it adds, is to be shaded. *self is
 * NULL where there is nothing to log to. A process without an attachment has no heap memory to store
 * into. A thread that cannot be attached may have: what it removes unlogged is made good by beginning
 * the cycle again.
 */
hidden bool barrier_begin(struct heapd_thread **self);
/* Ends it; self may be NULL. */
hidden void barrier_end(struct heapd_thread *self);

/* Inside an operation with the barrier on: tells the collector of a value, if it is one of the heap's. */
hidden void barrier_shade(struct heapd_thread *self, const void *value);

#endif
