/* SPDX-License-Identifier: MIT */
/*
 * What programs are told of: that memory is short, that objects of a type have died, that a cycle has ended.
 */
#ifndef HEAPD_DAEMON_EVENTS_H
#define HEAPD_DAEMON_EVENTS_H

#include <stdint.h>

#include "heap.h"

/* Clients came or went, and that stands in the directory. From the main thread, which alone makes watchers. */
void events_clients(struct heap *heap);

/* With heap->lock held: something is wrong with what a client wrote or freed, and that is counted. */
void events_fault(struct heap *heap);

/* With heap->lock held: memory was refused, or almost all of it is in use. now: CLOCK_MONOTONIC, ns. */
void events_low(struct heap *heap, uint64_t now);

/* A cycle has ended, and what it counted stands in the directory. low: it left little room. */
void events_cycle(struct heap *heap, bool low);

#endif
