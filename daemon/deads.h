/* SPDX-License-Identifier: MIT */
/*
 * Queues of objects that have died, of the types that are watched for it.
 *
 * Requests come from the main thread, the rest from the collector's. What both touch (the tables dying, done and torn of
 * marks.h, what is waiting) is under heap->lock.
 */
#ifndef HEAPD_DAEMON_DEADS_H
#define HEAPD_DAEMON_DEADS_H

#include <stdint.h>

#include "clients.h"
#include "heap.h"
#include "marker.h"
#include "refusal.h"

int deads_init(struct heap *heap);
void deads_deinit(struct heap *heap);

/* From now on objects of the type that die are queued; as long as the heap lives. */
int deads_watch(struct heap *heap, uint32_t type, struct refusal *why);

/*
 * One object of the type's queue, for the client at that place of heap->clients, which holds it until the reply has arrived; 0:
 * there is none. Each is given once.
 */
int deads_take(struct heap *heap, unsigned client, uint32_t type, uint64_t *object, struct refusal *why);

/* Of an adopted heap: what is held for a client was taken, whether or not the queue has let go of it. */
void deads_settle(struct heap *heap, uint64_t object);

/* Of an adopted heap, before its cycle is void: what a sweep has left that did not end. */
void deads_restore(struct heap *heap);

/* With the roots of a cycle: what is queued becomes grey. */
void deads_shade(struct heap *heap, struct marker *marker);

/*
 * When marking has ended and weak cells are settled: queues what has died, and makes it grey. How many were queued;
 * mark to the end afterwards, also if none was.
 */
uint64_t deads_queue(struct heap *heap, struct marker *marker);

/* A client goes: what it has in its hands is no object. With heap->lock held. */
void deads_orphan(struct heap *heap, const struct client *client);

/* After the sweep, before those who went meanwhile are reaped; with heap->lock held. */
void deads_swept(struct heap *heap);

#endif
