/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_REQUEST_H
#define HEAPD_CLIENT_REQUEST_H

#include "client.h"
#include "heapd/message.h"

#define REQUEST_FDS_MAX 8u /* descriptors that one reply may carry */

/* As request_call(), for who holds request_lock already, and once: the fork handlers, which say themselves what is repeated. */
hidden int request_exchange(struct heapd_heap *heap, struct heapd_message *m, int *fds, size_t *nfds);

#endif
