/* SPDX-License-Identifier: MIT */
/*
 * progress.h - says on a terminal how far long work has come; elsewhere nothing.
 */
#ifndef HEAPCTL_PROGRESS_H
#define HEAPCTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_EVERY (1u << 14) /* objects between two steps, of which each looks at the clock */

struct progress {
	const char *what;
	uint64_t began, told; /* CLOCK_MONOTONIC, ns */
	bool tell, shown;
};

void progress_begin(struct progress *p, const char *what);
/* It costs a look at the clock: not for each object. */
void progress_step(struct progress *p, uint64_t done, uint64_t all);
/* Leaves nothing behind. */
void progress_end(struct progress *p);

#endif
