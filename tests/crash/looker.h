/* SPDX-License-Identifier: MIT */
/* looker.h - whether a heap is what it should be, beside a daemon that is killed at its stores. */
#ifndef HEAPD_CRASH_LOOKER_H
#define HEAPD_CRASH_LOOKER_H

#include "crowd.h"
#include "lives.h"
#include "scene.h"

struct fixture;

/* Between the looker and who asks it, in memory that they share. */
struct looker_words {
	_Atomic uint64_t found, live; /* objects alive, and at first; 0: not known */
	_Atomic uint32_t ask, verdict;
};

struct looker {
	struct scene *scene;
	const struct fixture *fixture;
	struct crowd_words *crowd;
	struct looker_words *words;
	bool plain; /* there are no heaps of other settings */
};

/* Until the board says stop; in a process that has attached. */
int looker_run(void *looker);
/* Has it look, while the daemon that is traced goes on; ends the program if something is not as it should be. */
void looker_look(const struct looker *looker, struct lives *lives);

#endif
