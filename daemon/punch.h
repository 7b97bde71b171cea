/* SPDX-License-Identifier: MIT */
/*
 * punch.h - giving a piece of a heap's memory back to the system, by a process that may never come back.
 *
 * Used by one thread at a time: the main thread until the heap's scavenger starts, then that one's.
 */
#ifndef HEAPD_DAEMON_PUNCH_H
#define HEAPD_DAEMON_PUNCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PUNCH_RUNS        128u
#define PUNCH_PATIENCE_NS UINT64_C(1000000000) /* that a process may take before others go on without it */

struct punch {
	int lock;   /* the ledger, opened once more: locked as long as a process may punch; -1: not opened */
	bool late;  /* one of an earlier daemon's may punch still, what the ledger says is being punched */
	int pidfd;  /* of our own, or -1 */
	void *room; /* its stack, or NULL */
	struct punch_run {
		void *at;
		uint64_t bytes;
	} runs[PUNCH_RUNS]; /* what it punches, one after the other */
	uint32_t n;
};

void punch_init(struct punch *punch);
/* A process that has not come back is left alone. */
void punch_deinit(struct punch *punch);

/* Finds out whether an earlier daemon's process is there still: sets late. */
void punch_open(struct punch *punch, int ledger);
/* Whether late is over by now. */
bool punch_is_late(struct punch *punch);

/* What is to be punched: nothing, and then so much more. Not while a process is out. */
void punch_clear(struct punch *punch);
void punch_add(struct punch *punch, void *at, uint64_t bytes);
/* Begins, unless a process is out: -EBUSY; -E2BIG: there were too many runs; other errors as clone() has them. */
int punch_begin(struct punch *punch);
/* 1: punched; 0: not all of it could be; -ETIMEDOUT: not yet; -ECHILD: nothing was begun. */
int punch_wait(struct punch *punch, uint64_t ns);

#endif
