/* SPDX-License-Identifier: MIT */
/*
 * Supply rings: slabs with free slots, put there by the daemon, taken by whoever runs dry.
 *
 * One ring per class. Slots and tail lie in the directory (the daemon alone writes them), the head
 * in control. An entry names up to 16 neighbouring slabs of one span; their free masks stand in
 * supplied[] of the directory.
 *
 * Giving (daemon):  ledger says out; supplied[] of each slab; slots[tail]; tail + 1 (release).
 * Taking (client):  head (acquire), tail (acquire), entry, masks; compare-and-swap head -> head + 1.
 *                   The masks are read BEFORE the swap: until it succeeds the daemon does not touch
 *                   them, and after it the daemon may supply the same slabs again. The head only
 *                   grows and has 64 bits, so a swap that succeeds proves that what was read is this
 *                   entry's (no ABA). The swap is acq_rel: its release half keeps the reads above
 *                   it, and pairs with the daemon's acquire load of the head before it reuses them.
 */
#ifndef HEAPD_SUPPLY_H
#define HEAPD_SUPPLY_H

#include "heapd/layout.h"

struct heapd_ring {
	uint64_t tail;    /* entries ever put in */
	uint32_t event;   /* futex: changes when something was put in, or refused */
	uint32_t refused; /* counts refusals: the heap is at its limit */
	uint32_t low;     /* ring the doorbell when fewer entries are left */
	uint32_t whole;   /* the cycle that the last one rests on: heapd_refusal_counts() */
	uint64_t unused[5];
	uint64_t slots[HEAPD_RING_SLOTS];
};
_Static_assert(sizeof(struct heapd_ring) == 64 + 8 * HEAPD_RING_SLOTS, "ring header is one line");

/* Clients swap the head alone; the daemon, which takes back what nobody wants, swaps both words at once. */
struct heapd_ring_head {
	_Alignas(16) uint64_t head; /* entries ever taken out, ... */
	uint64_t withdrawn;         /* ... and how many of them by the daemon */
	uint64_t unused[6];
};
_Static_assert(sizeof(struct heapd_ring_head) == 64, "no two heads share a line");

/* An entry: span's first page (32 bits), first slab in the span (8), which of the 16 from there on (16), flags (8). */
#define HEAPD_ENTRY_ZEROED (1ull << 56) /* every free slot of them is all zero */

static inline uint64_t heapd_entry_make(uint32_t page, uint32_t slab, uint32_t present, uint64_t flags)
{
	return (uint64_t)page | (uint64_t)(slab & 0xffu) << 32 | (uint64_t)(present & 0xffffu) << 40 | flags;
}
static inline uint32_t heapd_entry_page(uint64_t e)
{
	return (uint32_t)e;
}
static inline uint32_t heapd_entry_slab(uint64_t e)
{
	return (uint32_t)(e >> 32) & 0xffu;
}
static inline uint32_t heapd_entry_present(uint64_t e)
{
	return (uint32_t)(e >> 40) & 0xffffu;
}
static inline uint64_t heapd_entry_with(uint64_t e, uint32_t i)
{
	return e | 1ull << (40 + i);
}
static inline uint64_t heapd_entry_without(uint64_t e, uint32_t i)
{
	return e & ~(1ull << (40 + i));
}

/* Slabs that a client holds outside any current slab: a thread's spare, or handed back. */
struct heapd_batch {
	uint64_t entry; /* 0: empty; written last (release) when filled, bits cleared after each install */
	uint64_t class;
	uint64_t masks[HEAPD_BATCH_MAX]; /* free slots of slab (entry's slab + i) */
};
_Static_assert(sizeof(struct heapd_batch) == 144, "batches keep their size");

#endif
