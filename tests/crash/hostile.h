/* SPDX-License-Identifier: MIT */
/* A client that is nothing but the protocol, and may write whatever it can write to. */
#ifndef HEAPD_CRASH_HOSTILE_H
#define HEAPD_CRASH_HOSTILE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../fixture.h"
#include "heapd/geometry.h"
#include "heapd/session.h"

#define HOSTILE_THREADS 4u
#define HOSTILE_BOUND_S 20 /* no answer of the daemon's takes longer, but for what hostile_bound_set() says */

struct hostile {
	const char *name; /* the heap's */
	int socket, notify;
	struct heapd_geometry geometry;
	struct heapd_tables tables;
	struct heapd_session *session;
	struct heapd_thread *threads;
	uint64_t *control;
	ino_t control_inode;
	_Atomic bool stop;
	pthread_t answerer;
};

/* h->name is set. Something sensible stands in each part of the session; scans are answered. What fails ends the process. */
void hostile_attach(struct hostile *h, const struct fixture *f);
void hostile_leave(struct hostile *h);
/* How long to wait for the next answer, after a request that took `ns`. */
void hostile_bound_set(const struct hostile *h, uint64_t ns);

#endif
