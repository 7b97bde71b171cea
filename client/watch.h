/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_WATCH_H
#define HEAPD_CLIENT_WATCH_H

#include <poll.h>

#include "client.h"

#define WATCH_MAX 64u /* heapd_wait_fd() at a time */
#define WATCH_MS  10  /* between two looks at the words */

hidden int watches_init(struct heapd_heap *heap);
hidden void watches_free(struct heapd_heap *heap);

/* The agent's: p gets an entry for each watch, to see its reader go; the count. */
hidden nfds_t watches_poll(struct heapd_heap *heap, struct pollfd p[WATCH_MAX]);
/* The agent's: tells the readers of the words that have changed, and ends the watches whose readers went. */
hidden void watches_look(struct heapd_heap *heap);

/* Held around a fork; taken last of all locks, and nothing is waited for while it is held. */
hidden void watches_lock(struct heapd_heap *heap);
hidden void watches_unlock(struct heapd_heap *heap);
/* In the child of a fork, with the lock held: it has no watches. Their pins are dropped by the next heapd_wait_fd(). */
hidden void watches_forget(struct heapd_heap *heap);

#endif
