/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_ROOM_H
#define HEAPD_CLIENT_ROOM_H

#include "client.h"
#include "heapd/session.h"

/* How many thread records, or pins, this process may use: HEAPD_ROOM_*. */
static inline uint32_t room_of(const struct heapd_heap *heap, unsigned kind)
{
	return HEAPD_LOAD_ACQUIRE(&heap->session->room[kind]);
}

/* Asks the daemon for room for so many, and for more than that. Not with heap->lock held. 0 or -errno. */
hidden int room_ask(struct heapd_heap *heap, unsigned kind, uint32_t least);

#endif
