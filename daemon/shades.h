/* SPDX-License-Identifier: MIT */
/*
 * Shades: the values that clients' barriers, and the daemon's own roots, report to a cycle.
 */
#ifndef HEAPD_DAEMON_SHADES_H
#define HEAPD_DAEMON_SHADES_H

#include "clients.h"
#include "heap.h"
#include "marker.h"

/*
 * Before the new cycle shows in the directory: what stands in the rings is of cycles that have ended. Where one ran
 * full in the last one, they are longer from now on.
 */
int shades_empty(struct heap *heap, struct clients_view *view);

/* Before marking can begin: what the rings hold is noted (marks->early), so that they do not run full. */
void shades_note(struct heap *heap, const struct clients_view *view);

/* These slots of a slab become grey; while a cycle is under way. */
void shades_slab(struct heap *heap, struct marker *marker, uint32_t slab, uint64_t slots);

/* What was noted becomes grey. */
void shades_flush(struct heap *heap, struct marker *marker);

/*
 * One pass over all rings, each to the tail that it has when the pass begins, and over the daemon's own shades: how
 * many objects became grey. With nothing grey before the pass, 0 says that nothing white is reachable.
 */
uint64_t shades_pass(struct heap *heap, const struct clients_view *view, struct marker *marker);

/* True if a client, or the daemon itself, had to drop one: the cycle is void. */
bool shades_are_lost(struct heap *heap, const struct clients_view *view);

/* Of the daemon's own roots: from when on they are reported, and until when. */
void shades_own_begin(struct heap *heap);
void shades_own_end(struct heap *heap);

#endif
