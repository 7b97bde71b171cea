/* SPDX-License-Identifier: MIT */
/*
 * watchdog.h - tells the service manager, as long as it is true, that everything gets on.
 *
 * A thread of its own, which only looks. The main thread starts and stops it, and says what it is about.
 */
#ifndef HEAPD_DAEMON_WATCHDOG_H
#define HEAPD_DAEMON_WATCHDOG_H

#include <event2/event.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "heap.h"
#include "log.h"
#include "sessions.h"

/* What was counted when it was seen last, and since when it is the same. */
struct watchdog_sight {
	uint64_t count, since;
};

struct watchdog {
	const struct sessions *sessions; /* has the heaps */
	struct log *log;
	struct event *timer; /* by which the loop beats */
	struct beat loop;
	struct heap *_Atomic recovering; /* NULL, or a heap that is adopted, and not among the others yet */
	bool wanted;                     /* the service manager waits for a word (WatchdogSec=) */
	uint64_t patience;               /* ns without a beat, after which a thread that works is stuck */
	uint64_t step;                   /* ns between two looks */
	/* The thread's own: */
	bool told; /* that something is stuck */
	struct watchdog_sight main, recovery, supply[CONFIG_HEAPS_MAX], collection[CONFIG_HEAPS_MAX];
	pthread_t thread;
	pthread_mutex_t mutex; /* guards stop */
	pthread_cond_t wake;
	bool running, stop;
};

/* Before the heaps are there: what takes long is waited for as long as it gets on. Nothing where there is no service manager. */
int watchdog_start(struct watchdog *watchdog, const struct sessions *sessions, struct log *log);
/* The heap that is being adopted, or NULL. */
void watchdog_recovers(struct watchdog *watchdog, struct heap *heap);
/* From now on the loop goes round, or is stuck. */
int watchdog_loop(struct watchdog *watchdog, struct event_base *base);
void watchdog_stop(struct watchdog *watchdog);

/* At a time in ns: do the loop and all threads of all heaps get on? */
bool watchdog_look(struct watchdog *watchdog, uint64_t now);

#endif
