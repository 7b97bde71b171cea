/* SPDX-License-Identifier: MIT */
/*
 * watchdog.c - owns the decision whether the daemon is alive.
 *
 * Right because a word is sent only from the loop, so the loop goes round, and only if every supplier and every
 * collector rests or has beaten of late: threads that are stuck under a lock, or in a loop that does nothing, do
 * not beat. A collector that waits for a client beats, since that is no fault of the daemon's. Who is stuck is said
 * before the service manager ends it all: nobody can ask afterwards.
 */
#include "watchdog.h"

#include <errno.h>
#include <systemd/sd-daemon.h>

#include "beat.h"
#include "clock.h"

#define LOOKS 4u /* in the time that the service manager waits */

static bool gets_on(struct watchdog_sight *sight, struct beat *beat, uint64_t now, uint64_t patience)
{
	uint64_t count = atomic_load_explicit(&beat->count, memory_order_relaxed);

	if (count != sight->count || !atomic_load_explicit(&beat->working, memory_order_relaxed))
		*sight = (struct watchdog_sight){ .count = count, .since = now };
	return now - sight->since < patience;
}

static bool look_at(struct watchdog *watchdog, size_t i, uint64_t now)
{
	struct heap *heap = watchdog->sessions->heaps[i];
	bool supply = gets_on(&watchdog->supply[i], &heap->supply_beat, now, watchdog->patience);
	bool collection = gets_on(&watchdog->collection[i], &heap->collection_beat, now, watchdog->patience);

	if (supply && collection)
		return true;
	if (!watchdog->told)
		log_err(watchdog->log,
			"heap '%s': its %s is stuck; the service manager is not told any more that heapd is well",
			heap->name, supply ? "collector" : "supplier");
	watchdog->told = true;
	return false;
}

bool watchdog_look(struct watchdog *watchdog, uint64_t now)
{
	bool all = true;

	for (size_t i = 0; i < watchdog->sessions->nheaps; i++)
		all &= look_at(watchdog, i, now);
	if (all && watchdog->told)
		log_notice(watchdog->log, "everything gets on again");
	watchdog->told &= !all;
	return all;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct watchdog *watchdog = arg;

	(void)fd, (void)what;
	if (watchdog_look(watchdog, clock_ns()))
		sd_notify(0, "WATCHDOG=1");
}

int watchdog_start(struct watchdog *watchdog, struct event_base *base, const struct sessions *sessions,
		   struct log *log)
{
	uint64_t us = 0, step;

	*watchdog = (struct watchdog){ .sessions = sessions, .log = log };
	if (sd_watchdog_enabled(0, &us) <= 0)
		return 0;
	step = us / LOOKS;
	watchdog->patience = us * 1000 / 2;
	watchdog->timer = event_new(base, -1, EV_PERSIST, on_timer, watchdog);
	if (!watchdog->timer)
		return -ENOMEM;
	return event_add(watchdog->timer, &(struct timeval){ .tv_sec = (time_t)(step / 1000000),
							     .tv_usec = (suseconds_t)(step % 1000000) });
}

void watchdog_stop(struct watchdog *watchdog)
{
	if (watchdog->timer)
		event_free(watchdog->timer);
	watchdog->timer = NULL;
}
