/* SPDX-License-Identifier: MIT */
/*
 * The shared statistics of one heap: in the directory, written by the daemon, relaxed, read by
 * anybody without troubling the daemon. Bytes unless a name says otherwise.
 */
#ifndef HEAPD_STATS_H
#define HEAPD_STATS_H

#include <stdint.h>

#define HEAPD_PAUSE_BUCKETS 32u

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
	uint64_t double_frees; /* that the daemon found */
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

	/* The collector's. Live is what the last cycle marked. */
	uint64_t gc_live, gc_live_objects;
	uint64_t gc_goal;    /* the next cycle is to end before the heap has grown to this */
	uint64_t gc_trigger; /* so it begins when as much is allocated */
	uint64_t gc_cycles[8]; /* by enum trigger of the daemon: heap limit interval request death void stress - */
	uint64_t gc_voids;  /* cycles that came to nothing */
	uint64_t gc_stalls; /* clients that held one up for more than a second */
	uint64_t gc_freed, gc_freed_objects;
	uint64_t gc_ns;          /* from begin to end, of all cycles */
	uint64_t gc_cpu_ns;      /* processor time of the collector's threads */
	uint64_t gc_early_frees; /* freed explicitly, and reached all the same (Free=checked) */
	uint64_t gc_foreign;   /* listed words that were neither NULL nor in the heap, at the last marking */
	uint64_t returned;     /* given back to the system, of the heap memfd */
	uint64_t gc_pause_max; /* ns of its own processor time: the longest answer of a thread to a scan */
	uint64_t gc_weak_cleared; /* weak cells whose objects had died */
	uint64_t gc_dead_queued;  /* objects of watched types that had died */
	/* Pauses of all threads in all cycles. Bucket i: longer than 2^(i-1) ns, 2^i at most; the last also those beyond. */
	uint64_t gc_pauses, gc_pause_ns;
	uint64_t gc_pause_buckets[HEAPD_PAUSE_BUCKETS];
	/* Cycles that found out what the dead had left: deaths before them, what they freed. */
	uint64_t receipts, receipt_deaths, receipt_bytes, receipt_objects;
	uint64_t adoptions; /* by daemons that were started after the one that made the heap */
	/* Bytes that have ever become out, and those of them that are not any more: given - taken = out. */
	uint64_t given, taken;
	uint64_t overwrites; /* of a hardened heap: free slots, and ends of slots, that were written to */
	uint64_t lost,
		repaired; /* that could not be read any more by anybody; by the daemon, which mapped it anew */
	/* Found by clients, who count them (misfree.h): refused frees of what was free already and of what is no object, and the former. */
	uint64_t client_double_frees, client_bad_frees, client_overwrites;
	uint64_t walked;     /* objects that whoever goes through the heap with its lock held has come past */
	uint64_t gc_percent; /* GCPercent=, or what auto has made of it; 0: collection is off */
	uint64_t unused[31];
};
_Static_assert(sizeof(struct heapd_stats) == 1024, "statistics keep their size");

/* One cycle, as the directory remembers the last HEAPD_CYCLES_KEPT of them. Durations in nanoseconds. */
struct heapd_cycle_record {
	uint64_t cycle; /* its number, written last (release); 0: none yet */
	uint64_t began; /* CLOCK_REALTIME */
	uint32_t trigger;
	uint32_t is_void;
	uint64_t barrier, gather, scan, roots, mark,
		sweep;   /* in this order; of barrier and scan: the handshakes */
	uint64_t cpu;    /* processor time of the collector's threads */
	uint64_t before; /* bytes allocated when it began */
	uint64_t marked, marked_objects;
	uint64_t freed, freed_objects;
	uint64_t held;                 /* bytes left, though not marked: made or supplied meanwhile */
	uint64_t pause_max, pause_sum; /* of a thread's answers to the scan */
	uint32_t threads, sessions, passes, stalls;
	uint64_t barrier_phase, scan_phase; /* the phases that end with the handshakes */
	uint64_t unused[2];
};
_Static_assert(sizeof(struct heapd_cycle_record) == 192, "records keep their size");

#define HEAPD_CYCLES_KEPT 64u

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
