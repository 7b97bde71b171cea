/* SPDX-License-Identifier: MIT */
/*
 * meeting.h - two threads at one place: one of a traced process stops before an instruction of the library, and goes on when another has done
 * what its operation names (scene.h).
 */
#ifndef HEAPD_CRASH_MEETING_H
#define HEAPD_CRASH_MEETING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "scene.h"
#include "text.h"

#define MEETING_PLACES 16u

enum meeting_state {
	MEETING_NONE,  /* whoever comes there goes on */
	MEETING_READY, /* who comes there, and is not the helper, waits */
	MEETING_ASKED, /* one waits; the helper is at work */
};

struct meeting {
	struct board *board;
	uint64_t at[MEETING_PLACES];
	size_t n;
	pid_t waits;  /* a thread; 0: none */
	uint64_t end; /* until then */
};

/* Before each swap of the function of that name; "name()", or if it has none: before its first instruction. NULL: nowhere. */
void meeting_begin(struct meeting *m, const struct text *library, const char *function, struct board *board);
/* In a process that has not begun. */
void meeting_plant(struct meeting *m, pid_t pid);
/* The thread has stopped by a trap: whether that is one of these. It is seen to. */
bool meeting_stop(struct meeting *m, pid_t tid);
/* Time passes. */
void meeting_turn(struct meeting *m);

#endif
