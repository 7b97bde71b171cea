/* SPDX-License-Identifier: MIT */
/*
 * work_heapd.c - the four kinds of work in a heap of heapd: work_heapd SOCKET HEAP KIND THREADS SECONDS.
 *
 * One process, as the others are one. A pause is the processor time that a thread's answer to a cycle took. Memory: the
 * most that was committed of the heap, and this process's own.
 */
#include <heapd.h>
#include <unistd.h>

#include "client/client.h"
#include "heapd/session.h"
#include "work.h"

/* NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): of this program */
static heapd_heap *heap;
static heapd_type *node_type, *entry_type;
static bool stop;
/* NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables) */

BENCH_INLINE void *work_new(size_t bytes, bool leaf)
{
	if (leaf)
		return heapd_alloc_leaf(heap, bytes);
	if (bytes == sizeof(struct work_node))
		return heapd_new(node_type, struct work_node);
	if (bytes == sizeof(struct work_entry))
		return heapd_new(entry_type, struct work_entry);
	return heapd_alloc(heap, bytes);
}

BENCH_INLINE void work_store(void *field, void *value)
{
	heapd_store((void **)field, value);
}

static bool work_hold(struct work *w, void *object)
{
	(void)w;
	return heapd_pin(heap, object) != NULL;
}

/* A thread misses an answer only if two cycles ended since it looked last. */
BENCH_INLINE void work_rest(struct work *w)
{
	const struct heapd_thread *self = heapd_self;

	if (!self || self->pauses == w->seen)
		return;
	if (w->seen)
		gaps_add(&w->pauses, self->pause_last_ns);
	w->seen = self->pauses;
}

static void *peak_watch(void *arg)
{
	const uint64_t *committed = &heap->t.directory->stats.committed;
	double *peak = arg;

	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		double now = (double)HEAPD_READ_ONCE(*committed);

		*peak = now > *peak ? now : *peak;
		usleep(2000);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static struct work all[WORK_THREADS];
	struct heapd_options options = heapd_options_default();
	unsigned n = argc == 6 ? (unsigned)atoi(argv[4]) : 0;
	pthread_t watch;
	double peak = 0;

	if (!n || n > WORK_THREADS) {
		fprintf(stderr, "usage: work_heapd SOCKET HEAP KIND THREADS SECONDS (work-run starts it)\n");
		return 2;
	}
	options.socket = argv[1];
	options.client = "heapd-bench";
	options.supply_timeout_ms = 60000;
	if (heapd_attach(&heap, argv[2], &options) < 0 ||
	    !(node_type = heapd_type_define(heap, "work-node", struct work_node, edges)) ||
	    !(entry_type = heapd_type_define(heap, "work-entry", struct work_entry, value))) {
		fprintf(stderr, "bench: work: %s\n", heapd_error());
		return 1;
	}
	heapd_thread_offline(heap);
	pthread_create(&watch, NULL, peak_watch, &peak);
	work_threads(all, n, argv[3][0], atof(argv[5]), work_run, pthread_create, pthread_join);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	pthread_join(watch, NULL);
	return work_print(all, n, "heapd", NULL, peak / (1 << 20));
}
