/* SPDX-License-Identifier: MIT */
/* wander.h - a process that does whatever there is to do, in no order. */
#ifndef HEAPD_CRASH_WANDER_H
#define HEAPD_CRASH_WANDER_H

#include "scene.h"

/* One of them; what it does afterwards is drawn from the seed. */
struct wanderer {
	struct scene *scene;
	uint64_t seed;
	enum barrier barrier;        /* what is held up beside it */
	bool spoils;                 /* the heap is hardened */
	bool straight;               /* it does the operation, and no more */
	bool loud;                   /* what it says is to be seen */
	const struct operation *did; /* what it does first */
};

/* Of all operations the nth; NULL: there are no more. */
const struct operation *wander_nth(unsigned n);
/* Whether it may be done first. */
bool wander_may(const struct wanderer *w, const struct operation *o);
/* What it may do first; only: the name of what it is to be, or NULL. */
const struct operation *wander_draw(const struct wanderer *w, uint64_t *seed, const char *only);
/* In a process of its own, a fork of an attached one, which ends in it. It begins when the board says so. */
_Noreturn void wander_run(const struct wanderer *w);

#endif
