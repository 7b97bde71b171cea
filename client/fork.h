/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_FORK_H
#define HEAPD_CLIENT_FORK_H

#include "client.h"

/* Registers the handlers of fork(), once in a process, and gives the attachment what they need. */
hidden int fork_init(struct heapd_heap *heap);
hidden void fork_free(struct heapd_heap *heap);

/* Lets go of the handle that a child without a heap inherited; harmless where there is none. */
hidden void fork_orphan_drop(void);

/* -ENODEV and the sentence: heap is no attachment of this process; why, if a fork made it so. */
hidden int fork_heap_missing(const struct heapd_heap *heap);

#endif
