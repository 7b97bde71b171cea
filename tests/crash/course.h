/* SPDX-License-Identifier: MIT */
/*
 * course.h - one operation's way, instruction by instruction, and deaths on it.
 */
#ifndef HEAPD_CRASH_COURSE_H
#define HEAPD_CRASH_COURSE_H

#include "scene.h"
#include "text.h"
#include "tracee.h"

/* A place to be killed at: the nth time that the thread comes to an instruction. */
struct point {
	uint64_t at;
	uint32_t nth;
	uint32_t entry; /* inside a sequence: the nth time that this begins; else 0 */
};

struct course {
	struct point *points;
	size_t n;
	uint64_t steps;
};

struct stand {
	struct scene *scene;
	struct text *library, *program;
	const struct operation *operation;
};

enum outcome { KILLED, MISSED, STUCK };

/*
 * Runs the operation once, and takes down where it came along: each instruction of its own thread, and each instruction
 * of the sequences that it went through, their abort handlers with them. False: it did not come to its end.
 */
bool course_take(const struct stand *s, struct course *course);
void course_free(struct course *course);

/* Runs it again, up to the point, and kills its process there. */
enum outcome course_kill(const struct stand *s, const struct point *point);
/*
 * Runs it again, up to the point, and leaves it stopped there while meanwhile() is called; then it goes on to its end. STUCK
 * also where that does not come.
 */
enum outcome course_stop(const struct stand *s, const struct point *point, void (*meanwhile)(void *arg),
			 void *arg);

/*
 * A process of its own, brought to where the operation begins, and what ends it. parent: to be ended, too; or 0. False:
 * it did not come there; it is to be ended all the same.
 */
bool course_begin(const struct stand *s, struct tracee *t, pid_t *parent);
void course_end(struct tracee *t, pid_t parent);

#endif
