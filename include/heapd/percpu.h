/* SPDX-License-Identifier: MIT */
/*
 * The current slabs of each (CPU, class): what the fast paths work on, shared by all processes of the heap.
 *
 * Two tables, because restartable sequences and compare-and-swap do not exclude each other:
 *   rseq rows: read and written only inside a restartable sequence that runs on that row's CPU,
 *              committing with one store; the daemon withdraws from one by moving a thread onto the CPU.
 *              An entry has two slabs: one is allocated from, the other collects what is freed; the two
 *              change places (one store, `way`) when the first is used up, or its slots come back while the
 *              other has collected a few of another slab. Both may be the same slab, each with slots of its own. So
 *              what a CPU frees it allocates again, out of its cache, without the daemon, and no allocation
 *              waits for the store of the free before it;
 *   cas rows:  for clients without rseq, one slab each, changed only by a 16-byte compare-and-swap.
 *
 * {base, bits}: bits == 0 means "no slab", whatever base says. Bit 0 of base says that the slab's free
 * slots are known to be all zero.
 *
 * owner[slab]: 1 + the CPU whose entry had the slab last, 0, or a value that is no CPU's (a cas row, more than
 * one CPU). Only the owner's CPU collects the slab's frees in its entry, all others set freed bits: so a slab
 * lies with one CPU, and a slot freed twice is found there, whoever frees it.
 *
 * lent[slab]: its slots that are free in the ledger, in a ring or in a spare. All of them when the span is cut;
 * cleared by who installs the slots in a current slab, before it does; set by the daemon before the ledger has
 * a slot, or a sweep may take it, and by a thread before a slot is a spare of its. So a free slot stands in a current slab, in lent[] or in
 * freed[], or is in somebody's hands just now. Both are hints: they serve to recognise a broken program, and the
 * daemon never uses what they say.
 *
 * taker[slab]: heapd_taker() of the user whose process took it from the ring, or 0. The daemon writes 0 when it supplies half of
 * the slab's slots or more, and who takes a slab that is nobody's writes its own: so a slab stays with whoever took most of it.
 * It is what a user's share of the heap is counted by; the writers of a heap trust each other so far.
 *
 * born[slab]: the last cycle in whose marking a thread took the slab from the ring, or 0. The library's alone (client/newborn.h).
 */
#ifndef HEAPD_PERCPU_H
#define HEAPD_PERCPU_H

#include "heapd/layout.h"

static inline uint32_t heapd_taker(uint32_t uid)
{
	return uid + 1; /* there is no user UINT32_MAX */
}

struct heapd_current {
	uint64_t base; /* address of slot 0, plus HEAPD_CURRENT_ZEROED */
	uint64_t bits; /* bit i: slot i is free */
} __attribute__((aligned(16)));
_Static_assert(sizeof(struct heapd_current) == 16, "current slabs are found by a shift");

struct heapd_rseq_entry {
	struct heapd_current slabs[2];
	uint64_t way; /* offset of the slab that is allocated from: 0 or 16 */
	uint64_t unused[3];
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct heapd_rseq_entry) == 64, "an entry is a cache line, found by a shift");

#define HEAPD_RSEQ_ENTRY_SHIFT 6
#define HEAPD_RSEQ_ROW_SHIFT   (HEAPD_RSEQ_ENTRY_SHIFT + 11)
#define HEAPD_CURRENT_ZEROED   1ull
#define HEAPD_CURRENT_SHIFT    4
#define HEAPD_ROW_SHIFT        (HEAPD_CURRENT_SHIFT + 11) /* HEAPD_CLASS_MAX entries in a row */
_Static_assert(HEAPD_CLASS_MAX == 1u << 11, "a row is found by a shift");

/* Counted on slow paths only, relaxed, by whoever runs on the CPU; a lost update is a lost count. */
struct heapd_cpu_counters {
	uint64_t taken_slabs; /* from supply rings */
	uint64_t installs;
	uint64_t install_lost; /* somebody else was faster */
	uint64_t waits;        /* for an empty ring */
	uint64_t wait_ns;
	uint64_t double_frees;
	uint64_t bad_frees;  /* foreign, interior, wild */
	uint64_t aborts;     /* sequences that were restarted, where the path knows */
	uint64_t overwrites; /* of a hardened heap: see canary.h */
	uint64_t unused[7];
};
_Static_assert(sizeof(struct heapd_cpu_counters) == 128, "no two CPUs share a line");

#endif
