/* SPDX-License-Identifier: MIT */
/*
 * work_bdwgc.c - the four kinds of work in the Boehm-Demers-Weiser collector: work_bdwgc KIND THREADS SECONDS.
 *
 * A pause is the time from before it stops the threads until it has let them go on.
 */
#define GC_THREADS
#include <gc.h>

#include "work.h"

/* NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): of this program; the collector looks at them */
static struct work all[WORK_THREADS];
static struct gaps pauses;
static uint64_t stopped;
/* NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables) */

BENCH_INLINE void *work_new(size_t bytes, bool leaf)
{
	void *object = leaf ? GC_MALLOC_ATOMIC(bytes) : GC_MALLOC(bytes);

	/* The others' are zeroed. */
	return leaf && object ? memset(object, 0, bytes) : object;
}

BENCH_INLINE void work_store(void *field, void *value)
{
	__atomic_store_n((void **)field, value, __ATOMIC_RELEASE);
}

static bool work_hold(struct work *w, void *object)
{
	(void)w, (void)object;
	return true;
}

BENCH_INLINE void work_rest(struct work *w)
{
	(void)w;
}

/* Called with the collector's lock held. */
static void GC_CALLBACK event(GC_EventType type)
{
	if (type == GC_EVENT_PRE_STOP_WORLD)
		stopped = bench_now();
	else if (type == GC_EVENT_POST_START_WORLD)
		gaps_add(&pauses, bench_now() - stopped);
}

int main(int argc, char **argv)
{
	unsigned n = argc == 4 ? (unsigned)atoi(argv[2]) : 0;

	if (!n || n > WORK_THREADS)
		return 2;
	GC_INIT();
	GC_set_on_collection_event(event);
	work_threads(all, n, argv[1][0], atof(argv[3]), work_run, GC_pthread_create, GC_pthread_join);
	return work_print(all, n, "bdwgc", &pauses, work_peak());
}
