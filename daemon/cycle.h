/* SPDX-License-Identifier: MIT */
/*
 * One collection of a heap, from note P to the sweep's end. From the collector's thread.
 */
#ifndef HEAPD_DAEMON_CYCLE_H
#define HEAPD_DAEMON_CYCLE_H

#include "audit.h"
#include "collection.h"
#include "early.h"
#include "handshake.h"
#include "marker.h"
#include "stall.h"
#include "sweeper.h"

/* What came of it. Durations in nanoseconds. */
struct cycle_result {
	uint32_t number;
	enum trigger trigger;
	uint64_t began; /* CLOCK_REALTIME */
	uint64_t total, barrier, gather, scan, roots, mark, sweep;
	uint64_t before; /* bytes allocated when it began */
	uint32_t passes; /* over the barrier rings */
	uint32_t sessions;
	uint64_t pause_max, pause_sum;
	struct handshake_counts handshakes;
	uint64_t weak_cleared, dead_queued;
	struct marker_counts marked;
	struct sweep_counts swept;
	uint64_t early; /* objects freed by hand, and reachable */
};

struct cycle {
	struct heap *heap;
	struct marker *marker;
	struct clients_view view;
	struct handshake handshake;
	struct early early;
	struct audit audit;
	uint64_t death_from; /* CLOCK_MONOTONIC, ns, the collector's: a death from then on makes the cycle void */
	uint64_t lost;       /* pages that could not be read any more when it began */
	uint64_t crowded_id; /* the client that holds more than it can publish, since `crowded` began */
	struct stall crowded;
	struct cycle_result result;
};

int cycle_init(struct cycle *cycle, struct heap *heap, unsigned marker_threads);
void cycle_deinit(struct cycle *cycle);

/*
 * Runs one. 0; -EAGAIN: it is void, and nothing was taken back (a barrier ring ran full, memory for the daemon's own
 * tables was short): begin another; -EINTR: the same, since somebody died whose roots it would keep; -EOVERFLOW: the
 * same, since a client holds more than it can publish; -ECANCELED: the heap is to end.
 */
int cycle_run(struct cycle *cycle, enum trigger trigger);

/* Bytes that objects have now: what is out and lies in no ring. An estimate, free of locks. */
uint64_t cycle_allocated(const struct heap *heap);

#endif
