/* SPDX-License-Identifier: MIT */
/*
 * The ledger: the daemon's truth about a heap, in a memfd that never leaves it (and that is kept over
 * its own death). What stands in here is enough, with the directory's span table and its out words, to
 * rebuild everything else. Those two lie in the directory because clients look at them (a free of a slot
 * that is not out is a double free, told at once); only the daemon can write them. Guarded by heap->lock.
 */
#ifndef HEAPD_LEDGER_H
#define HEAPD_LEDGER_H

#include "heap.h"

#define LEDGER_MAGIC 0x3170616568643a6cull

/* A private copy of a supply ring: what the daemon put in and saw taken. */
struct ledger_ring {
	uint64_t head; /* entries known to be taken */
	uint64_t tail;
	uint64_t entries[HEAPD_RING_SLOTS];
};

struct ledger_head {
	uint64_t magic;
	uint64_t fingerprint;
	uint64_t heap_id;
	uint64_t slabs;
};

struct ledger {
	struct ledger_head *head;
	struct ledger_ring *rings; /* by class */
	uint64_t *out; /* by slab: 1 = given out: in a ring, a current slab, a spare, or allocated (the directory's table) */
	uint32_t *owner; /* by unit of HEAPD_SLAB_UNIT slab numbers: 1 + first page of the span, or 0 */
};

uint64_t ledger_size(const struct heapd_geometry *g);

/* Lays the tables over heap->ledger_memory; a new (all-zero) ledger gets its head. */
int ledger_init(struct ledger *ledger, struct heap *heap);

/* The first page of the span that slab number `slab` belongs to: false if it belongs to none. */
static inline bool ledger_span_of(const struct ledger *ledger, uint32_t slab, uint32_t *first)
{
	uint32_t owner = ledger->owner[slab / HEAPD_SLAB_UNIT];

	*first = owner - 1;
	return owner != 0;
}

#endif
