/* SPDX-License-Identifier: MIT */
/*
 * Worker processes that hammer one heap: each thread allocates, stamps, checks and frees objects, and
 * passes some on to the others through a table in the heap. A slot that is given to two at once loses
 * one of its stamps, which its owner finds before it frees the object.
 */
#ifndef HEAPD_TESTS_WORKERS_H
#define HEAPD_TESTS_WORKERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WORKERS_MAX   16u
#define WORKERS_TABLE 256u /* places of the table */

struct worker_plan {
	unsigned threads; /* of each process */
	unsigned live;    /* objects that a thread keeps, at most 256 */
	uint64_t seed;
	bool migrate;        /* threads move from CPU to CPU all the time */
	unsigned signal_us;  /* a signal to each thread this often; 0: none */
	bool churn;          /* threads, and attachments, last for a moment only */
	int path;            /* 0: by sequence, 1: by compare-and-swap, -1: odd processes by the latter */
	void (*ended)(void); /* called in each process when its work is done; may be NULL */
};

/* Makes the table: before any worker starts. */
void workers_prepare(void);

/* Starts process number `index`; it works until workers_stop(), and its exit status is 0 if all went well. */
pid_t worker_start(const struct worker_plan *plan, unsigned index);

/* Tells all of them to end. They may be waited for then. */
void workers_stop(void);

/* Operations that all of them have done. */
uint64_t workers_done(void);

/*
 * Takes out and frees what lies in the table, and compares what is allocated then with `lost`: 0, where
 * nobody was killed.
 */
void workers_settle(bool nobody_was_killed);

#endif
