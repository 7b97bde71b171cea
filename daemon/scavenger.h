/* SPDX-License-Identifier: MIT */
/*
 * The scavenger: gives memory that has been free for a while back to the system.
 */
#ifndef HEAPD_DAEMON_SCAVENGER_H
#define HEAPD_DAEMON_SCAVENGER_H

#include "heap.h"

#ifndef SCAVENGER_PERIOD_NS
#define SCAVENGER_PERIOD_NS UINT64_C(10000000000) /* between two looks; what both find free is given back */
#endif
#define SCAVENGER_CHUNK_NS \
	UINT64_C(30000000) /* from a chunk (2 MiB) at most as often: about 64 MiB a second */

/* After supply_start(). */
int scavenger_start(struct heap *heap);
int scavenger_start_every(struct heap *heap, uint64_t period_ns); /* between two looks, for tests */
void scavenger_stop(struct heap *heap);

/* One look: gives back what was free at the last one, and has been since. Chunks from which something was given back. */
uint64_t scavenger_look(struct heap *heap);

#endif
