/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_ATTACH_H
#define HEAPD_CLIENT_ATTACH_H

#include "client.h"

/*
 * The lock of heapd_process. Taken first of all: then heap->lock, then request_lock. Nobody waits for
 * more than one request while holding it.
 */
hidden void attach_lock(void);
hidden void attach_unlock(void);

/* Tells the kernel that this process takes part in the daemon's membarriers; -errno and the sentence. */
hidden int attach_barriers(const struct heapd_heap *heap);

/* Closes the sockets. */
hidden void attach_hang_up(struct heapd_heap *heap);

#endif
