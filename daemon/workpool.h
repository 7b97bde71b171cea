/* SPDX-License-Identifier: MIT */
/*
 * The work pool: grey objects that no worker has in its queue. One word for each slab says which of its objects
 * they are; a ring holds the slabs whose word is not 0, each once. So the pool has room for every object of the
 * heap, whatever the graph, in one and a half bits for each.
 *
 * An entry of the ring leads to its slab by the address of one of its objects: see marker.c. A word of `grey` is
 * written by the worker that sets or takes its bits (atomically, if there are several workers); it goes from 0 to
 * something else before the entry is put, and to 0 after it was taken.
 */
#ifndef HEAPD_DAEMON_WORKPOOL_H
#define HEAPD_DAEMON_WORKPOOL_H

#include <pthread.h>

#include "beat.h"
#include "heap.h"

struct workpool {
	uint64_t *grey; /* by slab; of a large object: 1 + the number of its next piece */
	uint64_t grey_bytes;

	/* Under lock, if there are several workers: */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* entries were put, or the last worker has nothing left */
	uint64_t *ring;
	uint64_t capacity; /* a power of two */
	uint64_t head, tail;
	uint64_t high;   /* entries of the ring's memory that were in use */
	unsigned active; /* workers that may hold grey objects, or put entries */
	bool open;       /* a drain is under way */
	bool stopping;
	struct beat done; /* portions of marking, of all workers; any thread may read it */
	bool shared;      /* there are several workers; constant */
	unsigned waiting; /* workers in workpool_wait(); also read without the lock, as a hint */
};

int workpool_init(struct workpool *pool, const struct heap *heap, bool shared);
void workpool_deinit(struct workpool *pool);

/* Forgets all that is in it, and gives back memory that a large backlog took. */
void workpool_clear(struct workpool *pool);

void workpool_put(struct workpool *pool, const uint64_t *entries, unsigned n);
/* Takes up to max of the oldest entries, and leaves some where others may want them. The number taken. */
unsigned workpool_take(struct workpool *pool, uint64_t *entries, unsigned max);

/* A drain begins: the caller is its first active worker. */
void workpool_open(struct workpool *pool);
/*
 * The drain's own worker has nothing left: waits a moment. True: no worker is active and there is no entry, so
 * the drain is over. False: it is active again, whether there are entries by now or others have not ended.
 */
bool workpool_wait(struct workpool *pool);
/* The calling worker has nothing left: waits until there are entries, and is active again then. For the other workers; false: it is to end. `active`: it was. */
bool workpool_join(struct workpool *pool, bool active);
void workpool_stop(struct workpool *pool);

#endif
