/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_EVENT_H
#define HEAPD_CLIENT_EVENT_H

#include "client.h"

hidden int events_init(struct heapd_heap *heap);
hidden void events_free(struct heapd_heap *heap);

/* The agent's: what has happened since its last look, if the program wants to hear of it. */
hidden void events_look(struct heapd_heap *heap);

/*
 * heapctl's: the descriptor of heapd_event_fd(), which becomes readable, too, when clients come or go, and when faults are
 * counted. It may, when nothing has happened. -errno.
 */
hidden int events_watch(struct heapd_heap *heap);

/* In the child of a fork, before its agent is there: its own descriptor in the place of the parent's. */
hidden void events_forked(struct heapd_heap *heap);

#endif
