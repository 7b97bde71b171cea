/* SPDX-License-Identifier: MIT */
/*
 * The shared statistics of one heap: in the directory, written by the daemon, relaxed, read by
 * anybody without troubling the daemon. Bytes unless a name says otherwise.
 */
#ifndef HEAPD_STATS_H
#define HEAPD_STATS_H

#include <stdint.h>

struct heapd_stats {
	uint64_t limit;          /* committed at most */
	uint64_t committed;      /* of the heap memfd */
	uint64_t committed_huge; /* of that, in huge pages */
	uint64_t overhead; /* of directory, control, ledger and sessions, estimated by what was touched */
	uint64_t in_spans; /* pages of spans */
	uint64_t out; /* slots that are not free in the ledger: in rings, current slabs, spares, or allocated */
	uint64_t in_rings;       /* of that, in supply rings */
	uint64_t stranded;       /* of that, in current slabs, when it was last looked at */
	uint64_t large;          /* of that, in large spans */
	uint64_t supplied_slots; /* counts since the heap was made */
	uint64_t harvested_slots;
	uint64_t spans_cut;
	uint64_t spans_freed;
	uint64_t double_frees;
	uint64_t refusals;
	uint64_t withdrawals;
	uint64_t handed_back_slabs;
	uint64_t corrupt; /* client-writable words that made no sense */
	uint64_t sessions;
	uint64_t sessions_ever;
	uint64_t deaths; /* sessions that ended without a detach */
	uint64_t rings_found_empty;
	uint64_t commit_ns;
	uint64_t supply_ns; /* processor time of the supplier */
	uint64_t unused[40];
};
_Static_assert(sizeof(struct heapd_stats) == 512, "statistics keep their size");

struct heapd_class_stats {
	uint64_t spans;
	uint64_t pages;
	uint64_t out_slots;
	uint64_t supplied_slots;
	uint64_t harvested_slots;
	uint64_t unused[3];
};
_Static_assert(sizeof(struct heapd_class_stats) == 64, "a cache line");

#endif
