/* SPDX-License-Identifier: MIT */
/*
 * The collector's thread of a heap: waits for a reason, runs a cycle, says what came of it.
 */
#ifndef HEAPD_DAEMON_COLLECTOR_H
#define HEAPD_DAEMON_COLLECTOR_H

#include "collection.h"

/* After supply_start(). A heap whose collection is off has the thread as well, asleep: it may be switched on. */
int collector_start(struct heap *heap, unsigned marker_threads);
void collector_stop(struct heap *heap);

#endif
