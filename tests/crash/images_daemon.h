/* SPDX-License-Identifier: MIT */
/*
 * images_daemon.h - a daemon with one heap, without threads and loop, that dies when it is told to: what it keeps is on the tape.
 */
#ifndef HEAPD_CRASH_IMAGES_DAEMON_H
#define HEAPD_CRASH_IMAGES_DAEMON_H

#include "daemon/heap.h"
#include "daemon/session.h"
#include "daemon/store.h"

#define IMAGES_HEAP "one"

struct images_daemon {
	struct log log;
	struct account account;
	struct store store;
	struct config config;
	struct sessions sessions;
	struct heap *heap, *heaps[1];
	bool alive;
};

/* Starts, with what is kept. settings: as --set has them, NULL at the end. log: a descriptor. */
int images_daemon_start(struct images_daemon *d, const char *const settings[], int log);
/* Its process is gone: what it had that is not kept, and nothing else. It stores while it goes: go back on the tape. */
void images_daemon_die(struct images_daemon *d);

#endif
