/* SPDX-License-Identifier: MIT */
/*
 * progress.h - says on a terminal how far long work has come; elsewhere nothing.
 */
#ifndef HEAPCTL_PROGRESS_H
#define HEAPCTL_PROGRESS_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_EVERY (1u << 14) /* objects between two steps, of which each looks at the clock */

struct progress {
	const char *what;
	uint64_t began, told; /* CLOCK_MONOTONIC, ns */
	bool tell, shown;
	bool watching; /* a thread looks at these: */
	const uint64_t *done, *all;
	pthread_t watcher;
	sem_t over;
};

void progress_begin(struct progress *p, const char *what);
/* It costs a look at the clock: not for each object. */
void progress_step(struct progress *p, uint64_t done, uint64_t all);
/*
 * For a call that says nothing while it goes on: until progress_end(), a thread of its own looks at how much is done, of about
 * how much, and steps. Both are read at any moment.
 */
void progress_watch(struct progress *p, const char *what, const uint64_t *done, const uint64_t *all);
/* Leaves nothing behind. */
void progress_end(struct progress *p);

#endif
