/* SPDX-License-Identifier: MIT */
/*
 * The two handshakes of a cycle: the barrier goes on everywhere; every thread is scanned.
 */
#ifndef HEAPD_DAEMON_HANDSHAKE_H
#define HEAPD_DAEMON_HANDSHAKE_H

#include "clients.h"
#include "heap.h"
#include "stall.h"

struct handshake_counts {
	uint64_t barrier_ns, scan_ns; /* from a handshake's begin until the last one had answered */
	uint64_t threads;             /* scanned */
	uint64_t stalls;              /* clients that took longer than a second */
};

struct handshake {
	struct heap *heap;
	struct clients_view *view; /* as of the last look */
	uint32_t cycle;
	struct handshake_counts *counts;
	struct stall stall;   /* since the present handshake began */
	uint64_t notified;    /* when clients were told last that they are to be scanned */
	struct pending *list; /* threads that were inside an operation */
	uint32_t n, room;
};

/* Whether this machine can do it: membarrier(). -ENOSYS. */
int handshake_possible(void);

/*
 * From the collector's thread; `now` of the directory shows the phase already. 0; -ECANCELED: the heap is to end;
 * -ENOMEM. The second leaves in the view all who may have published something.
 */
int handshake_barrier(struct handshake *h);
int handshake_scan(struct handshake *h);

/* After marking: barriers go off, unless they are on for a later cycle. */
void handshake_off(struct handshake *h);
void handshake_deinit(struct handshake *h);

#endif
