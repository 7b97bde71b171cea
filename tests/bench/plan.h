/* SPDX-License-Identifier: MIT */
/* What is to be measured, and who takes part. */
#ifndef BENCH_PLAN_H
#define BENCH_PLAN_H

#include "contender.h"
#include "samples.h"

#define BENCH_CONTENDERS 41

struct plan {
	const char *programs; /* their folder */
	const char *socket;   /* of the daemon; NULL: there is none */
	const char *daemon;   /* its pid */
	unsigned rounds;
	char only[256];    /* BENCH_ONLY between blanks, or empty: everything */
	char missing[512]; /* who is not here, and why; for people */
	struct contender contenders[BENCH_CONTENDERS];
	int ncontenders;
};

/* Reads BENCH_ROUNDS and BENCH_ONLY; -EINVAL, having said why, if they make no sense. */
int plan_read(struct plan *plan);
/* Starts the contenders that BENCH_ONLY asks for and are here. */
void plan_start(struct plan *plan, struct results *results);
void plan_end(struct plan *plan);

bool plan_wants_cell(const struct plan *plan, const struct entrant *e, uint32_t loop, uint32_t size);
/* "touch" and "attach": measured if named, or if nothing is. */
bool plan_wants(const struct plan *plan, const char *what);

#endif
