/* SPDX-License-Identifier: MIT */
/*
 * Processes of the stress: each has some threads, which come and go, and do all that a client may do.
 */
#ifndef HEAPD_STRESS_WORKER_H
#define HEAPD_STRESS_WORKER_H

#include <sys/types.h>

#include "node.h"

/* Starts process number `index`, with so many threads. It ends when it is told to stop, or of itself: status 0. */
pid_t stress_worker_start(struct stress *stress, unsigned threads, unsigned index);

/* From a process of its own: everything is dropped, and two collections later nothing may be left. */
int stress_settle(void *stress);

#endif
