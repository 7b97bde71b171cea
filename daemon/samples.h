/* SPDX-License-Identifier: MIT */
/*
 * samples.h - objects of which somebody keeps a sample, so that it can be seen when they are gone (heapd/slab.h).
 */
#ifndef HEAPD_DAEMON_SAMPLES_H
#define HEAPD_DAEMON_SAMPLES_H

#include "heap.h"
#include "heapd/message.h"

/* Marks each object that there is; of others the address becomes 0. */
void samples_mark(struct heap *heap, struct heapd_sampled *sampled);

#endif
