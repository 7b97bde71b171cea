/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_ATTACH_H
#define HEAPD_CLIENT_ATTACH_H

#include "client.h"

/*
 * The lock of heapd_process. Taken first of all: then heap->lock, then request_lock, then the watches'.
 * Nobody waits for more than one request while holding it.
 */
hidden void attach_lock(void);
hidden void attach_unlock(void);

/*
 * Has this process take part in the daemon's membarriers; -errno and the sentence if it cannot. With
 * several threads that takes the kernel 5 to 20 ms, so where no collection can be under way it is left
 * to the agent (barriers_late).
 */
hidden int attach_barriers(struct heapd_heap *heap);
hidden void attach_barriers_register(void);

/* Closes the sockets. */
hidden void attach_hang_up(struct heapd_heap *heap);

/* What the fast paths by sequence go by: the path that was chosen, and how the heap was made. */
hidden void attach_sequences(struct heapd_heap *heap);

#endif
