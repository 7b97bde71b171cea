/* SPDX-License-Identifier: MIT */
/*
 * What memory a process has: its own, and what lies in the memory files that it has open. For heapd: what each part is for.
 */
#ifndef BENCH_FOOTPRINT_H
#define BENCH_FOOTPRINT_H

#include "client/client.h"

/* Bytes that are resident and this process's alone; pid "self" is whoever asks. */
double footprint_own(const char *pid);

/* Bytes in memory files that the process has open, each counted once; of those named name: alone, or of all ("" for name). */
double footprint_files(const char *pid, const char *name);

/* Where the memory of a heap is, but for what is no object's: bytes, and together committed. */
struct footprint_heap {
	double given; /* slots that clients have: objects, and what they have freed and the daemon has not taken back */
	double current;   /* free slots in current slabs of processors */
	double rings;     /* free slots in supply rings */
	double slots;     /* free slots of spans, and what a span has that makes no whole slot */
	double pages;     /* free pages, in chunks that are committed */
	double committed; /* of the heap's memory file, as its statistics have it */
};

/* As the daemon's statistics say, while nothing else goes on. */
struct footprint_heap footprint_heap(const struct heapd_heap *heap);

#endif
