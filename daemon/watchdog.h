/* SPDX-License-Identifier: MIT */
/*
 * watchdog.h - tells the service manager, as long as it is true, that everything gets on.
 *
 * The main thread's.
 */
#ifndef HEAPD_DAEMON_WATCHDOG_H
#define HEAPD_DAEMON_WATCHDOG_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "heap.h"
#include "log.h"
#include "session.h"

/* A beat as it was seen last, and since when it is the same. */
struct watchdog_sight {
	uint64_t count, since;
};

struct watchdog {
	const struct sessions *sessions; /* has the heaps */
	struct log *log;
	struct event *timer; /* NULL: nobody asked for it */
	uint64_t patience;   /* ns without a beat, after which a thread that works is stuck */
	bool told;           /* that one is */
	struct watchdog_sight supply[CONFIG_HEAPS_MAX], collection[CONFIG_HEAPS_MAX];
};

/* Does nothing where the service manager wants no watchdog (WatchdogSec=). */
int watchdog_start(struct watchdog *watchdog, struct event_base *base, const struct sessions *sessions,
		   struct log *log);
void watchdog_stop(struct watchdog *watchdog);

/* At a time in ns: do all threads of all heaps get on? */
bool watchdog_look(struct watchdog *watchdog, uint64_t now);

#endif
