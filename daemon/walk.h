/* SPDX-License-Identifier: MIT */
/*
 * A walk over all spans of a heap, for the collector.
 */
#ifndef HEAPD_DAEMON_WALK_H
#define HEAPD_DAEMON_WALK_H

#include "heap.h"

/*
 * Calls look for each span, by its first page, with heap->lock held, which is taken for a piece at a time. look
 * returns how much work it was, in slabs. While a cycle is under way every span that was there when the walk began is
 * met once; of those that are cut meanwhile some are.
 */
void walk_spans(struct heap *heap, uint32_t (*look)(void *arg, uint32_t first), void *arg);

#endif
