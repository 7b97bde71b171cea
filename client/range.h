/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_RANGE_H
#define HEAPD_CLIENT_RANGE_H

#include "client.h"
#include "heapd/session.h"

static inline struct heapd_range *range_at(const struct heapd_session *session, uint32_t i)
{
	char *ranges = (char *)(uintptr_t)session + HEAPD_SESSION_RANGE_AT;

	return (struct heapd_range *)(void *)ranges + i;
}

/* Under heap->lock: ends the local ranges of thread record `index`, whose thread ends. */
hidden void ranges_end(struct heapd_heap *heap, uint32_t index);

#endif
