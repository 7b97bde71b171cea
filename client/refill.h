/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_REFILL_H
#define HEAPD_CLIENT_REFILL_H

#include "client.h"
#include "place.h"

/*
 * Gets this CPU a current slab of the class and pops a slot from it (as current_pop): from the thread's
 * spares, else from the supply ring, else by waiting for the daemon. 0 with errno and a sentence:
 * ENOMEM (the heap is at its limit), EAGAIN (the daemon is away or silent), EROFS (attached read-only). Who is not patient
 * is told that there is something to wait for, REFILL_WAITS, which is no slot, and asks anew.
 */
#define REFILL_WAITS 2u
hidden uint64_t refill_pop(struct heapd_heap *heap, uint32_t class, uint64_t elemsize, bool patient);

/*
 * Makes free slots of one slab, which are in this thread's hands alone, a spare of the thread: what it frees it
 * allocates again, without the daemon. False if it has enough of them. Inside the gate, and only while the
 * thread's barrier is off: the collector looks for what is held in spares first.
 */
hidden bool spare_keep(struct heapd_heap *heap, struct heapd_thread *self, const struct place *place,
		       uint64_t mask);

#endif
