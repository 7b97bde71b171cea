/* SPDX-License-Identifier: MIT */
/*
 * pause_bdwgc.c - the same loop in the Boehm-Demers-Weiser collector: pause_bdwgc MIB THREADS STEPS SECONDS.
 *
 * It collects as its heap grows; a pause is the time from before it stops the threads until it has let
 * them go on, and all threads have it.
 */
#define GC_THREADS
#include <gc.h>
#include <string.h>

#include "mutator.h"

#define THREADS 64u

static struct bench {
	struct mutator_plan plan;
	unsigned ready, go;
	uint64_t stopped;
	struct gaps pauses;
	void *roots[THREADS]; /* which the collector looks at, as at all that is static */
	struct mutator all[THREADS];
	struct idler idler;
} bench;

BENCH_INLINE void *mutator_new(struct mutator *m, size_t bytes)
{
	(void)m;
	return GC_MALLOC(bytes);
}

BENCH_INLINE void mutator_store(void *field, void *value)
{
	__atomic_store_n((void **)field, value, __ATOMIC_RELEASE);
}

BENCH_INLINE void mutator_drop(struct mutator *m, struct node *node)
{
	(void)m;
	(void)node;
}

static void mutator_rest(struct mutator *m)
{
	(void)m;
}

static void mutator_hold(struct mutator *m)
{
	bench.roots[m - bench.all] = m->chunks;
}

/* Called with the collector's lock held. */
static void GC_CALLBACK event(GC_EventType type)
{
	if (type == GC_EVENT_PRE_STOP_WORLD)
		bench.stopped = bench_now();
	else if (type == GC_EVENT_POST_START_WORLD && __atomic_load_n(&bench.go, __ATOMIC_ACQUIRE))
		gaps_add(&bench.pauses, bench_now() - bench.stopped);
}

static void *thread_run(void *arg)
{
	struct mutator *m = arg;

	if (!mutator_chunks_make(m, &bench.plan) || !mutator_nodes_make(m, &bench.plan))
		m->failed = ENOMEM;
	__atomic_fetch_add(&bench.ready, 1, __ATOMIC_ACQ_REL);
	while (!__atomic_load_n(&bench.go, __ATOMIC_ACQUIRE))
		mutator_sleep(bench_now() + BATCH_NS);
	if (!m->failed)
		mutator_run(m, &bench.plan);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned n = argc == 5 ? (unsigned)atoi(argv[2]) : 0;
	pthread_t threads[THREADS], idler;

	if (!n || n > THREADS)
		return 2;
	GC_INIT();
	GC_set_on_collection_event(event);
	bench.plan = (struct mutator_plan){
		.nodes = (strtoull(argv[1], NULL, 10) << 20) / sizeof(struct node) / n,
		.steps = mutator_batch(argv[3], n),
		.run_ns = (uint64_t)(atof(argv[4]) * 1e9),
	};
	for (unsigned i = 0; i < n; i++) {
		bench.all[i].random = 0x9e3779b97f4a7c15ull * (i + 1);
		pthread_create(&threads[i], NULL, thread_run, &bench.all[i]);
	}
	while (__atomic_load_n(&bench.ready, __ATOMIC_ACQUIRE) < n)
		mutator_sleep(bench_now() + BATCH_NS);
	pthread_create(&idler, NULL, idler_run, &bench.idler);
	__atomic_store_n(&bench.go, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	__atomic_store_n(&bench.idler.stop, true, __ATOMIC_RELAXED);
	pthread_join(idler, NULL);
	gaps_merge(&bench.all[0].pauses, &bench.pauses);
	mutator_print(bench.all, n, "bdwgc", argv[1]);
	idler_print(&bench.idler, "bdwgc", argv[1]);
	return 0;
}
