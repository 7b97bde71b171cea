/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_SHARE_H
#define HEAPD_CLIENT_SHARE_H

#include "client.h"
#include "heapd/session.h"

/* Whether this user has all of the heap that others leave to it, so that nothing may be taken from supply rings. */
static inline bool share_is_full(const struct heapd_heap *heap)
{
	return HEAPD_READ_ONCE(heap->session->share.full);
}

/* What was just taken from a ring is this user's, as far as it is nobody's. */
hidden void share_note(const struct heapd_heap *heap, const struct heapd_batch *batch);

/*
 * Asks for more all the same, and waits at most so long for an answer. 0: look again. ENOMEM: a collection that began after cycle
 * `since` did not help.
 */
hidden int share_wait(struct heapd_heap *heap, uint64_t ns, uint32_t since);

/* The sentence for ENOMEM, which is returned. */
hidden int share_failed(const struct heapd_heap *heap);

#endif
