/* SPDX-License-Identifier: MIT */
/*
 * traps.h - a process, its threads and all that it forks, at their own pace, until one of them comes to an instruction of the library that
 * nobody was killed at: there it is killed. Or it is stopped there, all of them with it, for as long as a function takes, and goes on.
 */
#ifndef HEAPD_CRASH_TRAPS_H
#define HEAPD_CRASH_TRAPS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "meeting.h"
#include "text.h"

struct traps {
	const struct text *text;
	unsigned char *
		image; /* the library's instructions, a trap at the beginning of each that nobody was killed at */
	uint64_t low, high; /* where they are */
	void (*meanwhile)(
		void *arg,
		uint64_t at); /* all stand still, one of them before that instruction; NULL: they are killed */
	void *arg;
};

enum trapped {
	TRAPPED,
	TRAPPED_ENDED, /* it came to its end */
	TRAPPED_LATE,  /* it did not, in time: it was killed where it was */
	TRAPPED_FAULT, /* a signal that nobody sends */
};

#define CAPTURE_WORDS 400u

struct capture {
	enum trapped how;
	uint64_t at; /* the instruction that it was about to execute */
	int status;  /* of the first process, as waitpid() has it; 0 also where it was killed here */
	int signal;  /* of a fault, and what it is about */
	uint64_t address;
	uint64_t stack[CAPTURE_WORDS];
};

/* Of the library as it is loaded here, and in all that this process forks. stores: only instructions that store are traps. */
void traps_load(struct traps *traps, const struct text *text, bool stores);
void traps_free(struct traps *traps);
/* Somebody was killed or stopped there: it is no trap any more. */
void traps_lift(struct traps *traps, uint64_t at);

/*
 * pid: a child of this process, which waits until the word is not 0. When this returns nothing is left of it and of what it has
 * forked. Nobody else may wait for children meanwhile; of others of them that end nothing is said. meeting: one that has begun.
 */
struct capture traps_run(const struct traps *traps, struct meeting *meeting, pid_t pid, _Atomic uint32_t *go,
			 uint64_t ns);

#endif
