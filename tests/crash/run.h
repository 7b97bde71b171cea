/* SPDX-License-Identifier: MIT */
/* run.h - one daemon after the other, each of which works for clients and is killed at a store; what the parts of stores share. */
#ifndef HEAPD_CRASH_RUN_H
#define HEAPD_CRASH_RUN_H

#include "../fixture.h"
#include "crowd.h"
#include "lives.h"
#include "looker.h"
#include "scene.h"
#include "sites.h"

#define RUN_BATCH 8u                          /* deaths between two looks */
#define RUN_BRIEF 4u                          /* operations of clients' that a life is made of at least */
#define RUN_LONG  (60000 * UINT64_C(1000000)) /* ns: no life is longer */

/* Between this process, the crowd and the looker. */
struct shared {
	struct crowd_words crowd;
	struct looker_words looker;
};

struct run {
	struct fixture fixture;
	struct scene scene;
	struct crowd clients;
	struct looker look;
	struct sites sites;
	struct lives lives;
	uint64_t seed;
	uint64_t deaths, recoveries, looks;
	uint64_t fresh; /* deaths at stores that had none */
	unsigned most, again;
	unsigned early, barren;    /* in a row */
	char last[RUN_BATCH][128]; /* where the last ones died */
	const char *file, *cover, *list, *chore;
	bool pass, ends, plain;
	char *config;
	const char *settings[FIXTURE_SETTINGS];
	pid_t witness, crowd, looker;
	struct shared *shared;
};

/* The next daemon lives once, with the breaks that are chosen. Whether all that are left were tried in vain, often enough. */
bool run_life(struct run *run);
/* There were as many deaths as are wanted. */
bool run_is_over(const struct run *run);
/* The configuration is another one for the next daemon; so many operations of clients' have to be done. */
void run_vary(const struct run *run);
void run_wait_for(const struct run *run, uint32_t operations);
/* The breaks that were chosen are those of daemons that are born from now on. */
void run_set_breaks(struct run *run);
/* A daemon was killed at a break; early: it had that from its birth. */
void run_note(struct run *run, bool early);
/* The heap is looked at, and what is covered is kept. */
void run_look(struct run *run);

#endif
