/* SPDX-License-Identifier: MIT */
/*
 * Spans of which a page cannot be read any more (bus.h): what becomes of them, and who is told.
 */
#ifndef HEAPD_DAEMON_QUARANTINE_H
#define HEAPD_DAEMON_QUARANTINE_H

#include "heap.h"

/*
 * With heap->lock held: puts spans into quarantine whose pages were lost since the last time, and tells of them, and of pages
 * that were repaired. Whether any were lost.
 */
bool quarantine_look(struct heap *heap);

#endif
