/* SPDX-License-Identifier: MIT */
/* demands.h - what a daemon is made to do to a heap, by a client that may write whatever it can write to. */
#ifndef HEAPD_CRASH_DEMANDS_H
#define HEAPD_CRASH_DEMANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "../fixture.h"
#include "hostile.h"
#include "scene.h"

#define DEMANDS_ALIVE 32u /* objects at least, of the 60 or so that the root leads to */

/* An attacker leaves it to the next one when it is killed. */
struct demands_count {
	uint64_t works, verifications, faults, dropped, stalls;
	uint64_t lively;           /* works that met objects */
	uint64_t filled, unfilled; /* times that these were made anew, and that it failed */
};

struct demands {
	const struct fixture *fixture;
	const struct board *board;   /* of the other heap's witness */
	struct demands_count *count; /* in memory shared by who attacks in turn */
	const uint64_t *place;       /* to be told of when the daemon fails */
	unsigned verify;             /* at each work that this divides */
	uint64_t reachable; /* objects, as of the last verification; DEMANDS_ALIVE of a heap just filled */
	uint64_t progress;  /* of the witness, when it was last looked at; begins as 0 */
	bool stalled;       /* what is changed just now holds up collection; begins as false */
};

/*
 * Objects of all sizes behind a named root of the heap of this name (a const char *), some of them freed. In a process of its own, whose
 * status it returns.
 */
int demands_fill(void *name);

/* All that the daemon does to a heap, over when this returns; n: any number, others for others. What it fails to do ends the process. */
void demands_work(struct demands *d, struct hostile *h, uint64_t n);
/* ... what it did not do since it held up collection, now that it does so no more. */
void demands_go_on(struct demands *d, const struct hostile *h);
/* This heap is verified, and has objects; the other one is clean, and its witness goes on. */
void demands_round_end(struct demands *d, struct hostile *h);

#endif
