/* SPDX-License-Identifier: MIT */
/* Times of which the longest matter: histograms in steps of a sixteenth, and the clock that fills them. */
#ifndef BENCH_GAPS_H
#define BENCH_GAPS_H

#include <stdint.h>

#define GAPS_STEPS 16u /* in each doubling: a percentile is at most so much too high */

struct gaps {
	uint64_t n, sum, max;
	uint32_t counts[61 * GAPS_STEPS];
};

void gaps_add(struct gaps *g, uint64_t ns);
void gaps_merge(struct gaps *to, const struct gaps *from);
/* The time that so many of a thousand do not exceed; with fewer than a thousand, the longest for 999. */
uint64_t gaps_permille(const struct gaps *g, unsigned permille);
/* A line: WHAT NAME LIVE n mean 99 % 99.9 % max 50 %, in microseconds. */
void gaps_print(const struct gaps *g, const char *what, const char *name, const char *live);

/*
 * Between two calls of gap_step() of one thread: how long it was, and how much of that was the thread's own
 * processor time. The second is asked of the kernel only after a long gap, so it costs the loop nothing; what
 * a short one holds counts as the thread's own.
 */
struct gap_clock {
	uint64_t last, wall, cpu;
	struct gaps all, own;
};

uint64_t gap_cpu_now(void); /* the calling thread's processor time */
void gap_begin(struct gap_clock *c);
uint64_t gap_step(struct gap_clock *c); /* now */

#endif
