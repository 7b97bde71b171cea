/* SPDX-License-Identifier: MIT */
/*
 * What clients hold free: the slots in current slabs and in spares, gathered by slab number. What is
 * read is client-writable: each word is read once and checked against the span table.
 */
#ifndef HEAPD_HELD_H
#define HEAPD_HELD_H

#include "clients.h"
#include "heap.h"

struct held_slab {
	uint32_t slab;
	uint32_t span;    /* first page */
	uint64_t current; /* free slots in current slabs */
	uint64_t spare;   /* free slots in spares: not installed yet */
	uint64_t moving;  /* free slots being installed: current already, or not yet */
	uint64_t twice;   /* slots seen in two current slabs, or two spares */
};

struct held {
	struct held_slab *slots; /* open addressing; both masks 0: empty */
	uint32_t capacity;       /* a power of two */
	uint32_t count;
	uint64_t current_bytes, spare_bytes;
	uint64_t senseless; /* words that named no slab */
	bool failed;        /* out of memory on the way, or a thread's hands never stood still */
};

void held_init(struct held *held);
void held_deinit(struct held *held);

/*
 * Gathers: of each thread first its spares, then what it is installing; then all current slabs of all CPUs. A
 * client notes the next place before it clears the one before, so what moves meanwhile is seen; but for what a
 * thread puts aside of a current slab as its spare, which it does only while its barrier is off. -ENOMEM.
 */
int held_gather(struct held *held, struct heap *heap);

/* Gathers what the threads of one client have in their hands, and no current slab. */
void held_gather_hands(struct held *held, const struct heap *heap, const struct client *client);

static inline uint64_t held_any(const struct held_slab *s)
{
	return s->current | s->spare | s->moving;
}

/* What is held of a slab, or NULL. */
const struct held_slab *held_find(const struct held *held, uint32_t slab);

/* From a current slab's base word to its slab: false if it is none of that class. */
bool held_resolve(const struct heap *heap, uint32_t class, uint64_t base, uint32_t *first, uint32_t *k);

/* Checks a batch that a client wrote, from a copy: false if it names no slabs of its class. */
bool held_batch_valid(const struct heap *heap, const struct heapd_batch *batch);
void held_batch_read(struct heapd_batch *copy, const struct heapd_batch *shared);

#endif
