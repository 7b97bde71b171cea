/* SPDX-License-Identifier: MIT */
/* What heapd is meant to reach, against what was measured. */
#ifndef BENCH_GOALS_H
#define BENCH_GOALS_H

#include "samples.h"

#define BENCH_GOALS 32

struct goal {
	char text[128];
	const char *unit;
	bool at_least; /* else at most */
	double limit;
	struct spread measured; /* n 0: not measured */
};

/* How many there are. */
unsigned goals_compute(const struct results *r, struct goal goals[BENCH_GOALS]);
bool goal_met(const struct goal *goal);

#endif
