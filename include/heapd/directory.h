/* SPDX-License-Identifier: MIT */
/*
 * The heads of the two memories that all clients of a heap share: the directory (clients map it
 * read-only) and control (clients write it; the daemon takes it for hints).
 */
#ifndef HEAPD_DIRECTORY_H
#define HEAPD_DIRECTORY_H

#include "heapd/layout.h"
#include "heapd/phase.h"
#include "heapd/stats.h"

enum heapd_huge {
	HEAPD_HUGE_NEVER = 0,
	HEAPD_HUGE_AUTO, /* where they can be had */
	HEAPD_HUGE_HUGETLB,
};

#define HEAPD_SAMPLE_BYTES (512ul << 10) /* unless set otherwise */

#define HEAPD_DIRECTORY_MAGIC 0x3170616568643a64ull

struct heapd_directory {
	uint64_t magic;
	uint64_t fingerprint; /* heapd_layout_fingerprint() of the daemon that made it */
	uint64_t base;
	uint64_t id; /* a number drawn when the heap was made; no two heaps share one */
	char name[HEAPD_NAME_MAX];
	struct heapd_geometry geometry;
	uint32_t huge;     /* HEAPD_HUGE_* */
	uint32_t nclasses; /* class records in use are below this; grows only (release) */
	uint32_t ntypes;
	uint32_t nroots;
	uint64_t sample_bytes; /* allocated between two samples, on average; 0: none (see heapd-probes(7)) */
	struct heapd_cycle_words cycle __attribute__((aligned(64)));
	struct heapd_stats stats __attribute__((aligned(64)));
	struct heapd_cycle_record cycles[HEAPD_CYCLES_KEPT]; /* cycle n stands at n % HEAPD_CYCLES_KEPT */
};
_Static_assert(sizeof(struct heapd_directory) <= 65536, "the directory's head has 64 KiB");

/* The supplier's state: a short nap is broken only by a client that waits, a sleep by any that runs low. */
#define HEAPD_BELL_AWAKE 0u
#define HEAPD_BELL_NAP   1u
#define HEAPD_BELL_SLEEP 2u

/* A client asks for a class to be supplied: sets its bit in demand, then rings the bell. */
struct heapd_control {
	uint32_t bell; /* futex, HEAPD_BELL_*: who changes it to AWAKE wakes the supplier */
	uint32_t unused0;
	uint64_t unused[7];
	uint64_t demand[HEAPD_CLASS_MAX / 64];
};
_Static_assert(sizeof(struct heapd_control) <= 4096, "control's head has one page");

#endif
