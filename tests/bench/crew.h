/* SPDX-License-Identifier: MIT */
/*
 * The processes (or threads) of one contender: they start each measurement together.
 *
 * The leader orders a run; each worker warms up, waits until all have, runs, and reports. Orders and
 * reports lie in anonymous shared memory, waiting is by futex; nothing of the allocator under test is used.
 */
#ifndef BENCH_CREW_H
#define BENCH_CREW_H

#include "cell.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a worker found: start and end of its run, and of that what counts. */
struct bench_report {
	uint64_t start, end;
	uint64_t timed; /* of end - start: without what is not to be timed */
	uint64_t delay; /* of timed: ready to run, but the processor was somebody else's */
	uint64_t ops;
	uint64_t cpu, faults, waits; /* filled in by the crew */
	uint64_t failed;             /* an errno value: the allocator could not serve */
};

struct bench_worker {
	unsigned index;
	const uint32_t *mix;
	void **objects; /* room for BENCH_CHUNK */
	void *own;      /* what the contender keeps */
	int schedstat;
};

/* Nanoseconds that the calling worker has waited for a processor so far; 0 where the kernel does not say. */
uint64_t bench_delay(const struct bench_worker *w);

/* The contender's part: called in each worker. */
struct bench_trade {
	/* Attaches, sets own; an errno value if it cannot. */
	int (*begin)(struct bench_worker *w, void *arg);
	/* Runs for request->run_ns; report is zeroed before. */
	void (*run)(struct bench_worker *w, const struct bench_request *request, uint64_t run_ns,
		    struct bench_report *report);
	void *arg;
	bool threads;
};

struct crew;

/* NULL and errno if a worker could not begin. */
struct crew *crew_start(unsigned nworkers, const struct bench_trade *trade);
/* daemon: the process whose processor time counts too, or 0. An errno value if a worker failed. */
int crew_run(struct crew *crew, const struct bench_request *request, int daemon, struct bench_answer *answer);
void crew_stop(struct crew *crew);

#ifdef __cplusplus
}
#endif

#endif
