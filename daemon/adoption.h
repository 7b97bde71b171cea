/* SPDX-License-Identifier: MIT */
/*
 * adoption.h - what a heap in use takes on of a configuration that was read anew.
 */
#ifndef HEAPD_DAEMON_ADOPTION_H
#define HEAPD_DAEMON_ADOPTION_H

#include "heap.h"

/* new: NULL if the heap is not configured any more. The main thread's. The old one may go afterwards. */
void adoption_run(struct heap *heap, const struct config_heap *new);

#endif
