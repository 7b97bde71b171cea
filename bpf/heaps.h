/* SPDX-License-Identifier: MIT */
/*
 * The heaps of one daemon, those that come later included, and the daemon itself.
 */
#ifndef HEAPD_BPF_HEAPS_H
#define HEAPD_BPF_HEAPS_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/types.h>

#include "directory.h"

struct heaps {
	struct directory **all; /* in the order in which they became known */
	unsigned n;
	bool named;       /* only those that were asked for by name */
	pid_t daemon;     /* 0: none lives */
	int pidfd;        /* of it; -1 */
	char version[32]; /* of the last one that was asked; empty: none was yet */
	struct look *look;
	const char *socket;
};

void heaps_init(struct heaps *heaps, const char *socket);
void heaps_deinit(struct heaps *heaps);

/* This one, whether the daemon has it or not, and no other that was not asked for. */
int heaps_want(struct heaps *heaps, const char *name);

/* From now on the daemon is asked every second. It is asked once before this returns, unless it takes too long. */
int heaps_start(struct heaps *heaps, struct event_base *base);

/* Whether the daemon lives: never waits. */
bool heaps_daemon_lives(struct heaps *heaps);

#endif
