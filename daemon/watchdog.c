/* SPDX-License-Identifier: MIT */
/*
 * watchdog.c - owns the decision whether the daemon is alive.
 *
 * Right because a word is sent only if the loop, every supplier and every collector rest or have beaten of late: threads
 * that are stuck under a lock, or in a loop that does nothing, do not beat. A collector that waits for a client beats,
 * since that is no fault of the daemon's. Who goes through a whole heap (verify, why, the audits of a cycle) holds its lock
 * for as long as that takes; its beat counts for all who wait for it, as it counts for the loop that may be the one who
 * goes. So a thread of its own looks, and does nothing else: it takes no lock of anybody's and allocates nothing.
 *
 * While heaps are adopted, before the service is ready, the manager's patience is another one: it is asked for more
 * time as long as adopting gets on.
 *
 * Who is stuck is said before the service manager ends it all: nobody can ask afterwards.
 */
#include "watchdog.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "beat.h"
#include "clock.h"
#include "heapd/atomic.h"
#include "notify.h"

#define LOOKS     4u                   /* in the time that the service manager waits */
#define STEP_ELSE UINT64_C(1000000000) /* ns between looks while there is no such time */
/* Asked for, again and again, while a heap is adopted. */
#define EXTEND "EXTEND_TIMEOUT_USEC=30000000"

static bool gets_on(struct watchdog_sight *sight, uint64_t count, bool works, uint64_t now, uint64_t patience)
{
	if (count != sight->count || !works)
		*sight = (struct watchdog_sight){ .count = count, .since = now };
	return now - sight->since < patience;
}

static uint64_t counted(const struct beat *beat)
{
	return atomic_load_explicit(&beat->count, memory_order_relaxed);
}

static bool works(const struct beat *beat)
{
	return atomic_load_explicit(&beat->working, memory_order_relaxed);
}

/* Whoever waits for the heap's lock gets on as far as who has it does. */
static bool heap_gets_on(const struct watchdog *watchdog, struct watchdog_sight *sight,
			 const struct heap *heap, const struct beat *beat, uint64_t now)
{
	return gets_on(sight, counted(beat) + counted(&heap->walk_beat), works(beat), now,
		       watchdog->patience);
}

static void tell(struct watchdog *watchdog, const char *heap, const char *what)
{
	if (!watchdog->told)
		log_err(watchdog->log,
			"%s%s%s%s is stuck; the service manager is not told any more that heapd is well",
			heap ? "heap '" : "", heap ? heap : "", heap ? "': its " : "the ", what);
	watchdog->told = true;
}

static bool look_at_heap(struct watchdog *watchdog, size_t i, uint64_t now)
{
	const struct heap *heap = watchdog->sessions->heaps[i];
	bool supply = heap_gets_on(watchdog, &watchdog->supply[i], heap, &heap->supply_beat, now);
	bool collection = heap_gets_on(watchdog, &watchdog->collection[i], heap, &heap->collection_beat, now);

	if (supply && collection)
		return true;
	tell(watchdog, heap->name, supply ? "collector" : "supplier");
	return false;
}

static bool look_at_loop(struct watchdog *watchdog, size_t nheaps, uint64_t now)
{
	uint64_t count = counted(&watchdog->loop);

	for (size_t i = 0; i < nheaps; i++)
		count += counted(&watchdog->sessions->heaps[i]->walk_beat);
	if (gets_on(&watchdog->main, count, works(&watchdog->loop), now, watchdog->patience))
		return true;
	tell(watchdog, NULL, "loop");
	return false;
}

/* The acquire pairs with the release of who adds a heap: it is complete. None goes as long as we look. */
bool watchdog_look(struct watchdog *watchdog, uint64_t now)
{
	size_t nheaps = HEAPD_LOAD_ACQUIRE(&watchdog->sessions->nheaps);
	bool all = look_at_loop(watchdog, nheaps, now);

	for (size_t i = 0; i < nheaps; i++)
		all &= look_at_heap(watchdog, i, now);
	if (all && watchdog->told)
		log_notice(watchdog->log, "everything gets on again");
	watchdog->told &= !all;
	return all;
}

/* True if the adoption that is under way has got on since the last look. */
static bool recovery_gets_on(struct watchdog *watchdog)
{
	struct heap *heap = atomic_load(&watchdog->recovering);
	uint64_t count = heap ? counted(&heap->walk_beat) : 0;
	bool on = heap && count != watchdog->recovery.count;

	watchdog->recovery.count = count;
	return on;
}

/* What is not heard now is said again at the next look. */
static void look(struct watchdog *watchdog)
{
	if (recovery_gets_on(watchdog))
		notify_send(EXTEND, -1, 0);
	if (watchdog->wanted && watchdog_look(watchdog, clock_ns()))
		notify_send("WATCHDOG=1", -1, 0);
}

static void *run(void *arg)
{
	struct watchdog *watchdog = arg;
	uint64_t next = clock_ns();

	pthread_mutex_lock(&watchdog->mutex);
	while (!watchdog->stop) {
		struct timespec until;

		next += watchdog->step;
		until = (struct timespec){ (time_t)(next / 1000000000u), (long)(next % 1000000000u) };
		while (!watchdog->stop &&
		       pthread_cond_timedwait(&watchdog->wake, &watchdog->mutex, &until) != ETIMEDOUT)
			;
		pthread_mutex_unlock(&watchdog->mutex);
		look(watchdog);
		pthread_mutex_lock(&watchdog->mutex);
	}
	pthread_mutex_unlock(&watchdog->mutex);
	return NULL;
}

static int thread_start(struct watchdog *watchdog)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* bus.h */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&watchdog->thread, NULL, run, watchdog);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r == 0)
		pthread_setname_np(watchdog->thread, "watchdog");
	watchdog->running = r == 0;
	return -r;
}

int watchdog_start(struct watchdog *watchdog, const struct sessions *sessions, struct log *log)
{
	pthread_condattr_t monotonic;
	uint64_t us = 0;

	*watchdog = (struct watchdog){ .sessions = sessions, .log = log };
	if (!getenv("NOTIFY_SOCKET"))
		return 0;
	watchdog->wanted = sd_watchdog_enabled(0, &us) > 0;
	watchdog->patience = us * 1000 / 2;
	watchdog->step = watchdog->wanted ? us * 1000 / LOOKS : STEP_ELSE;
	pthread_mutex_init(&watchdog->mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&watchdog->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return thread_start(watchdog);
}

void watchdog_recovers(struct watchdog *watchdog, struct heap *heap)
{
	atomic_store(&watchdog->recovering, heap);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct watchdog *watchdog = arg;

	(void)fd, (void)what;
	beat_count(&watchdog->loop);
}

int watchdog_loop(struct watchdog *watchdog, struct event_base *base)
{
	uint64_t us = watchdog->step / 1000;

	if (!watchdog->wanted)
		return 0;
	watchdog->timer = event_new(base, -1, EV_PERSIST, on_timer, watchdog);
	if (!watchdog->timer)
		return -ENOMEM;
	beat_begin(&watchdog->loop);
	return event_add(watchdog->timer, &(struct timeval){ .tv_sec = (time_t)(us / 1000000),
							     .tv_usec = (suseconds_t)(us % 1000000) });
}

void watchdog_stop(struct watchdog *watchdog)
{
	if (watchdog->timer)
		event_free(watchdog->timer);
	watchdog->timer = NULL;
	if (!watchdog->running)
		return;
	pthread_mutex_lock(&watchdog->mutex);
	watchdog->stop = true;
	pthread_cond_signal(&watchdog->wake);
	pthread_mutex_unlock(&watchdog->mutex);
	pthread_join(watchdog->thread, NULL);
	watchdog->running = false;
}
