/* SPDX-License-Identifier: MIT */
/* chores.h - what leads a daemon to places that the operations of a client do not lead it to. */
#ifndef HEAPD_CRASH_CHORES_H
#define HEAPD_CRASH_CHORES_H

#include "scene.h"

#define CHORES_HEAP "other" /* that the daemon has to have beside the scene's */

struct chore {
	const char *name;
	void (*run)(struct scene *s); /* in a process of its own, a fork of an attached one */
};

extern const struct chore scene_chores[];
extern const unsigned scene_nchores;

/* What chores left that lives on is dropped; also where one was killed in its midst. */
void chores_clear(struct scene *s);

#endif
