/* SPDX-License-Identifier: MIT */
/*
 * trial.h - a daemon, a scene and a witness that the deaths of a run happen beside, what of the library they have come to, and whether the
 * heap is well.
 */
#ifndef HEAPD_CRASH_TRIAL_H
#define HEAPD_CRASH_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "../fixture.h"
#include "scene.h"
#include "text.h"

#define TRIAL_SETS   8u
#define TRIAL_CYCLES 3u /* a client is stopped for the time of so many */

struct trial_options {
	unsigned every; /* of the places, one in so many */
	unsigned most;  /* of an operation; 0: no limit */
	unsigned batch; /* deaths before the heap is looked at */
	const char *only;
	unsigned barriers; /* bits of enum barrier */
	bool stop;         /* each is stopped there, while the others go on, and goes on itself */
	bool stores;       /* only instructions that store */
	bool by_cas;
	bool hardened;
	bool all;          /* none is left out for being much like another */
	bool fresh;        /* only instructions that nobody was killed at yet */
	bool more;         /* the other operations */
	unsigned wander;   /* processes that do, and nothing else */
	uint64_t wanderer; /* the seed of all of them; 0: each has its own */
	const char *cover; /* a file that keeps what was covered from run to run */
	const char *sites; /* one for the library's stores, all of them */
	const char *sets[TRIAL_SETS];
	unsigned nsets;
};

struct trial_count {
	uint64_t operations, kills, missed, faults, sequences, checks;
};

struct trial {
	struct trial_options options;
	struct fixture fixture;
	struct fixture other; /* a daemon of whom nobody here is a client, in a run of more operations */
	struct scene scene;
	struct text library, program;
	struct trial_count count;
	uint64_t seed;
	uint64_t live; /* objects, when nothing is going on */
	uint64_t sessions;
	uint64_t overwrites;   /* found so far, and meant to be */
	uint64_t turns;        /* of the witness's, in CYCLES collections */
	pid_t witness, trader; /* trader: 0: nobody is stopped in this run */
	bool held_up; /* a client that is stopped holds up the cycle: what is freed does not come back */
};

extern const char *const trial_barriers[BARRIERS]; /* for who reads what is printed */

/* With its options set: a daemon, and beside it all that is to be there. */
void trial_begin(struct trial *run);
void trial_finish(struct trial *run);

uint64_t trial_draw(uint64_t *state);
struct heapd_info trial_info(struct trial *run);
void trial_wait_sessions(struct trial *run, uint64_t wanted);
void trial_wait_turns(struct trial *run, uint64_t turns);
/* Somebody is stopped: others go on, for as long as TRIAL_CYCLES collections take. */
void trial_while_stopped(struct trial *run);
/* The one that was stopped has ended. */
void trial_after_stop(struct trial *run);

/* After deaths; each of these ends the program if something is not as it has to be. */
void trial_look(struct trial *run);
/* Two collections have to find alive exactly what was alive before all of it; what: the cause of what they would find. */
void trial_reclaimed(struct trial *run, const char *what);

/* The library's, or this program's own; NULL: another one's. */
struct instruction *trial_find(const struct trial *run, uint64_t at);
/* Somebody was killed there. */
void trial_cover(struct trial *run, uint64_t at);
/* What was covered so far is kept, if it is to be. */
void trial_keep(const struct trial *run);

#endif
