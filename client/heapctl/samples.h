/* SPDX-License-Identifier: MIT */
/*
 * samples.h - sampled allocations: by the stack of their callers what was allocated, and each sample whose object lives.
 *
 * A sample stands for `weight` bytes. What is allocated is the sum of the weights; what lives, of those whose objects do.
 */
#ifndef HEAPCTL_SAMPLES_H
#define HEAPCTL_SAMPLES_H

#include "ctl.h"

#define SAMPLES_FRAMES 64u
#define SAMPLES_NOFILE UINT32_MAX

/* A place in a file of code; of SAMPLES_NOFILE: an address that is in none. */
struct frame {
	uint64_t offset;
	uint32_t file;
};

struct stack {
	uint32_t id, n;
	uint32_t class;
	double objects;      /* allocated */
	uint64_t bytes;      /* allocated */
	double live_objects; /* by samples_live(), as live_bytes */
	uint64_t live_bytes;
	struct frame frames[SAMPLES_FRAMES]; /* the innermost first */
};

struct sample {
	uint64_t address, bytes, weight, cycle; /* cycle: the last that had begun when it was allocated */
	uint32_t stack, pid;
	bool dead, marked;
};

struct samples {
	const struct ctl *ctl;
	void *stacks_tree, *addresses_tree;
	struct stack **stacks;
	uint32_t nstacks;
	struct sample **list; /* of objects that lived when they were last looked at */
	size_t n, room, unmarked;
	uint64_t seen;
};

void samples_init(struct samples *s, const struct ctl *ctl);
void samples_free(struct samples *s);

/* An exit status. */
int samples_add(struct samples *s, const struct sample *sample, uint32_t class, const struct frame *frames,
		uint32_t n);

/* Tells the daemon of those added since, so that it is seen when they are gone. An exit status. */
int samples_mark(struct samples *s);

/* Forgets those whose objects are gone, and sums up the others by stack. */
void samples_live(struct samples *s);

#endif
