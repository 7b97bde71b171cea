/* SPDX-License-Identifier: MIT */
/*
 * The collector's phases and handshake counters, as the directory shows them.
 *
 * A heap whose collection is off stays in HEAPD_PHASE_IDLE. Who attaches, or comes back online,
 * registers first, then executes a full fence, then reads the phase: that fence pairs with the
 * daemon's membarrier between writing the phase and looking at the registered threads.
 */
#ifndef HEAPD_PHASE_H
#define HEAPD_PHASE_H

#include <stdint.h>

enum heapd_phase {
	HEAPD_PHASE_IDLE = 0, /* no cycle under way: barriers off */
	HEAPD_PHASE_BARRIER,  /* handshake 1 has begun: start with the barrier on, unscanned */
	HEAPD_PHASE_SCAN,     /* handshake 2 has begun: scan before going on */
	HEAPD_PHASE_MARK,
	HEAPD_PHASE_SWEEP,
};

struct heapd_cycle_words {
	uint32_t phase;      /* enum heapd_phase */
	uint32_t handshake;  /* counts handshakes; each answer names the one that it answers */
	uint64_t cycle;      /* counts cycles */
	uint32_t collecting; /* 0: collection is off for this heap */
	uint32_t unused[11];
};
_Static_assert(sizeof(struct heapd_cycle_words) == 64, "a cache line");

#endif
