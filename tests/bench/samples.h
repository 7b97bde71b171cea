/* SPDX-License-Identifier: MIT */
/* What was measured: for each entrant, loop and size, one answer a round. */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include "cell.h"

#define BENCH_ENTRANTS 76
#define BENCH_ROUNDS   101

/* Who is compared: an allocator, its processes, and how its memory is zeroed. */
struct entrant {
	char label[40]; /* "mimalloc, memset" */
	char name[16];  /* "mimalloc": what BENCH_ONLY and the goals name */
	unsigned procs;
	bool zero;   /* zeroed by memset() in the loop */
	bool zeroes; /* zeroes by itself */
	bool threads;
	int contender; /* its place in the table of contenders */
};

struct samples {
	unsigned n;
	struct bench_answer answers[BENCH_ROUNDS];
	int failed; /* an errno value, and n is 0 */
};

struct spread {
	unsigned n; /* 0: not measured, nothing else is set */
	double median, min, max;
};

struct results {
	unsigned nentrants;
	struct entrant entrants[BENCH_ENTRANTS];
	struct samples samples[BENCH_ENTRANTS][BENCH_LOOPS][BENCH_SIZES];
	/* By huge pages: [0] never, [1] auto. Nanoseconds per object; the first touch of it all, and again. */
	struct {
		unsigned n;
		double first[BENCH_ROUNDS], warm[BENCH_ROUNDS], faults[BENCH_ROUNDS];
		double grown; /* bytes that the daemon had to commit meanwhile, at most */
	} touch[2];
	struct {
		unsigned n;
		double *call, *with, *without; /* nanoseconds */
	} attach;
};

struct spread spread_of(const double *values, unsigned n);
struct spread spread_ns(const struct samples *s);
/* The median of another number of the answers, by its offset. */
double samples_median(const struct samples *s, size_t offset);
/* The quotients, round by round. */
struct spread spread_ratio(const struct samples *a, const struct samples *b);

/* NULL if there is none. The name and zero pick; the loop, since threads stand in for processes in one. */
const struct entrant *results_find(const struct results *r, const char *name, unsigned procs, bool zero,
				   bool threads);
const struct samples *results_at(const struct results *r, const struct entrant *e, uint32_t loop,
				 uint32_t size);

#endif
