/* SPDX-License-Identifier: MIT */
/*
 * One of the marker's workers: its queue of grey objects, and the way from an object to those that it points to. A worker
 * belongs to one thread. See worker.c.
 */
#ifndef HEAPD_DAEMON_WORKER_H
#define HEAPD_DAEMON_WORKER_H

#include "foreign.h"
#include "heap.h"
#include "shape.h"
#include "workpool.h"

/* What one cycle marked. */
struct marker_counts {
	uint64_t objects, bytes; /* marked */
	uint64_t words;          /* looked at in them */
	uint64_t foreign;        /* listed words of types that were neither NULL nor in the heap */
	uint64_t overflows;      /* objects for which there was no room in a worker's queue */
};

#define WORKER_BATCH 32u /* words that are resolved together */
#define WORKER_ROOM  (WORKER_BATCH + SHAPE_WINDOW)
#define WORKER_OUT   64u /* entries kept for the pool */
#define WORKER_IN    32u /* entries taken from it at once */

struct candidate {
	uint64_t entry;
	uint32_t slab;
	uint16_t words; /* of the slot */
	uint16_t bit;
};
_Static_assert(sizeof(struct candidate) == 16, "four to a cache line");

struct worker {
	const struct heap *heap;
	const struct shape *shapes;
	uint64_t *mark;
	struct workpool *pool;
	struct foreign *foreign;

	uint64_t *queue;
	uint64_t head, tail; /* of the queue; count on for ever */
	uint64_t asked;      /* up to here, objects have been asked for */
	uint64_t room;       /* entries that the queue has; a power of two */
	int64_t left;        /* objects to be scanned before worker_run() returns */

	uint64_t batch[WORKER_ROOM]; /* words of the heap */
	unsigned nbatch, nout, nin, in_at;
	struct candidate candidates[WORKER_ROOM];
	uint64_t out[WORKER_OUT + WORKER_IN + WORKER_ROOM + 1]; /* on its way to the pool */
	uint64_t in[WORKER_IN];                                 /* from it */

	struct marker_counts counts;
	pthread_t thread;
};

/* What it works on is filled by the caller; room: entries of its queue, a power of two. -ENOMEM. */
int worker_init(struct worker *w, uint64_t room);
void worker_deinit(struct worker *w);

/*
 * Forgets what a cycle that was given up left. What of it was on its way to the pool or from there is put there, so that
 * the pool is seen not to be empty: a word of a slab that stayed set would keep the slab out of the pool for good.
 */
void worker_clear(struct worker *w);

/* Takes any word for a candidate; it becomes grey with worker_settle() at the latest. */
void worker_candidate(struct worker *w, uint64_t word);
void worker_settle(struct worker *w);

/* Marks about as many objects: true when nothing is left in this worker's hands, nor in the pool. */
bool worker_run(struct worker *w, int64_t objects);

#endif
