/* SPDX-License-Identifier: MIT */
/*
 * What programs are told of: that memory is short, that objects of a type have died, that a cycle has ended.
 */
#ifndef HEAPD_DAEMON_EVENTS_H
#define HEAPD_DAEMON_EVENTS_H

#include <stdint.h>

#include "heap.h"

/* With heap->lock held: memory was refused, or almost all of it is in use. now: CLOCK_MONOTONIC, ns. */
void events_low(struct heap *heap, uint64_t now);

/* A cycle has ended, and what it counted stands in the directory. low: it left little room. */
void events_cycle(struct heap *heap, bool low);

#endif
