/* SPDX-License-Identifier: MIT */
/*
 * scale.c - how costs grow: with the threads of a process, with the classes that are in use, with what lives.
 *
 * scale threads|classes|live SOCKET HEAP SECONDS [MIB]: so long for each point; what lives goes up to MIB. (How they grow with
 * processes, `compare` measures.) Prints lines "scale WHAT N NAME VALUE":
 *   threads  pair, burst   ns an object allocated and freed, times the processors that the threads could use
 *   classes  pair, burst   ns an object, each of another type than the one before
 *   live (N in MiB)        fill: ns an object, from the size before; pair: ns; marking: the same while a collection is under way; cycle, cpu: ms a collection takes, from begin to
 *                          end, and of the daemon's processors; rate: million objects marked in a second of those; pause: us, mean
 *                          of a thread's answer; room: MiB committed / MiB asked for
 * Objects have 64 bytes. Those that live are found by tables of pointers, and by each other: each has one to an older one.
 */
#include <errno.h>
#include <heapd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cell.h"
#include "client/client.h"

#define THREADS  8u
#define TYPES    1000u
#define BURST    1000u
#define TABLE    512u       /* pointers */
#define OLDER    (1u << 16) /* a node's link leads to one of so many before it */
#define LIVE_MIN 100u       /* MiB */

struct node {
	struct node *older;
	uint64_t number, payload[6];
};

struct table {
	struct table *next;
	struct node *nodes[TABLE];
};

struct scale {
	heapd_heap *heap;
	uint64_t run_ns;
	uint64_t most; /* MiB */
	heapd_type *types[TYPES];
	unsigned ntypes;
	heapd_type *node_type, *table_type;
	struct table **root;
	struct node *last[OLDER];
};

struct crowd {
	const struct scale *s;
	pthread_barrier_t start;
	bool burst;
	struct thread_report {
		uint64_t begin, end, ops;
	} reports[THREADS];
	unsigned taken;
};

static void fail(const char *what)
{
	fprintf(stderr, "bench: scale: %s: %s\n", what, heapd_error());
	exit(1);
}

static void print(const char *what, uint64_t n, const char *name, double value)
{
	printf("scale %s %lu %s %.3f\n", what, (unsigned long)n, name, value);
	fflush(stdout);
}

/* Each object of the type after the last one's. */
static void round_of(const struct scale *s, bool burst)
{
	void *objects[BURST];

	for (unsigned i = 0, t = 0; i < BURST; i++, t = t + 1 < s->ntypes ? t + 1 : 0) {
		objects[i] = heapd_type_alloc(s->types[t], sizeof(struct node));
		if (!objects[i])
			fail("no memory");
		if (!burst)
			heapd_free(objects[i]);
	}
	for (unsigned i = 0; burst && i < BURST; i++)
		heapd_free(objects[i]);
}

static struct thread_report run(const struct scale *s, bool burst)
{
	struct thread_report r = { .begin = bench_now() };

	for (r.end = r.begin; r.end - r.begin < s->run_ns; r.end = bench_now()) {
		round_of(s, burst);
		r.ops += BURST;
	}
	return r;
}

static double measure(const struct scale *s, bool burst)
{
	struct thread_report r;

	for (unsigned warm = 0; warm < 10; warm++)
		round_of(s, burst);
	r = run(s, burst);
	return (double)(r.end - r.begin) / (double)r.ops;
}

static heapd_type *type_define(heapd_heap *heap, const char *name, size_t bytes)
{
	const struct heapd_type_desc desc = { .size = sizeof(desc),
					      .name = name,
					      .object_size = bytes,
					      .align = 8,
					      .flags = HEAPD_TYPE_NOSCAN };
	heapd_type *type = heapd_type_define_desc(heap, &desc);

	if (!type)
		fail("types");
	return type;
}

/* Threads ----------------------------------------------------------------------------------------------------- */

static void *thread_run(void *arg)
{
	struct crowd *crowd = arg;
	unsigned i = __atomic_fetch_add(&crowd->taken, 1, __ATOMIC_RELAXED);

	round_of(crowd->s, crowd->burst);
	pthread_barrier_wait(&crowd->start);
	crowd->reports[i] = run(crowd->s, crowd->burst);
	return NULL;
}

static double threads_measure(const struct scale *s, unsigned n, bool burst)
{
	struct crowd crowd = { .s = s, .burst = burst };
	pthread_t threads[THREADS];
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	double ops = 0, ns = 0;

	pthread_barrier_init(&crowd.start, NULL, n);
	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, thread_run, &crowd))
			fail("threads");
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&crowd.start);
	for (unsigned i = 0; i < n; i++) {
		ops += (double)crowd.reports[i].ops;
		ns += (double)(crowd.reports[i].end - crowd.reports[i].begin) / n;
	}
	return ns * (n < (unsigned long)cpus ? n : (double)cpus) / ops;
}

static void threads_scale(struct scale *s)
{
	s->types[0] = type_define(s->heap, "one", sizeof(struct node));
	s->ntypes = 1;
	for (unsigned n = 1; n <= THREADS; n++) {
		print("threads", n, "pair", threads_measure(s, n, false));
		print("threads", n, "burst", threads_measure(s, n, true));
	}
}

/* Classes ----------------------------------------------------------------------------------------------------- */

static void classes_scale(struct scale *s)
{
	static const unsigned steps[] = { 1, 4, 16, 64, 250, 500, TYPES };
	char name[32];

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		for (; s->ntypes < steps[i]; s->ntypes++) {
			snprintf(name, sizeof(name), "class%u", s->ntypes);
			s->types[s->ntypes] = type_define(s->heap, name, sizeof(struct node));
		}
		print("classes", s->ntypes, "pair", measure(s, false));
		print("classes", s->ntypes, "burst", measure(s, true));
	}
}

/* What lives -------------------------------------------------------------------------------------------------- */

static void nodes_add(struct scale *s, uint64_t from, uint64_t to)
{
	struct table *table = NULL;

	for (uint64_t i = from; i < to; i++) {
		uint64_t any = i * 0x9e3779b97f4a7c15ull >> 48;
		struct node *node = heapd_new(s->node_type, struct node);

		if (node && (!table || i % TABLE == 0)) {
			table = heapd_new(s->table_type, struct table);
			if (table) {
				heapd_init(&table->next, *s->root);
				heapd_store(s->root, table);
			}
		}
		if (!node || !table)
			fail("no memory");
		heapd_init(&node->older, s->last[any]);
		node->number = i;
		heapd_store(&table->nodes[i % TABLE], node);
		s->last[i % OLDER] = node;
	}
}

/* One whole collection, while another thread of ours would go on: nothing else does here. */
static void collection_print(const struct scale *s, uint64_t mib)
{
	const struct heapd_stats *stats = &s->heap->t.directory->stats;
	const struct heapd_stats before = *stats;
	uint64_t cycles = 0, cpu, pauses;

	if (heapd_collect(s->heap) < 0)
		fail("collect");
	for (unsigned i = 0; i < 8; i++)
		cycles += HEAPD_READ_ONCE(stats->gc_cycles[i]) - before.gc_cycles[i];
	cpu = HEAPD_READ_ONCE(stats->gc_cpu_ns) - before.gc_cpu_ns;
	pauses = HEAPD_READ_ONCE(stats->gc_pauses) - before.gc_pauses;
	if (!cycles || !cpu)
		return;
	print("live", mib, "cycle",
	      (double)(HEAPD_READ_ONCE(stats->gc_ns) - before.gc_ns) / (double)cycles / 1e6);
	print("live", mib, "cpu", (double)cpu / (double)cycles / 1e6);
	print("live", mib, "rate",
	      (double)HEAPD_READ_ONCE(stats->gc_live_objects) * (double)cycles / ((double)cpu / 1e3));
	if (pauses)
		print("live", mib, "pause",
		      (double)(HEAPD_READ_ONCE(stats->gc_pause_ns) - before.gc_pause_ns) / (double)pauses /
			      1e3);
	print("live", mib, "room", (double)HEAPD_READ_ONCE(stats->committed) / ((double)mib * (1 << 20)));
}

/* Pairs until the collection that is asked for now has ended. */
static void marking_print(const struct scale *s, uint64_t mib)
{
	const uint64_t *finished = &s->heap->t.directory->cycle.finished;
	uint64_t before = HEAPD_LOAD_ACQUIRE(finished), begin = bench_now(), ops = 0;

	if (heapd_collect_start(s->heap) < 0)
		fail("collect");
	for (; HEAPD_LOAD_ACQUIRE(finished) == before && bench_now() - begin < 20 * s->run_ns; ops += BURST)
		round_of(s, false);
	if (ops)
		print("live", mib, "marking", (double)(bench_now() - begin) / (double)ops);
}

static void live_begin(struct scale *s)
{
	s->node_type = heapd_type_define(s->heap, "node", struct node, older);
	s->table_type = heapd_type_define(s->heap, "table", struct table, next, nodes);
	s->types[0] = type_define(s->heap, "one", sizeof(struct node));
	s->ntypes = 1;
	s->root = heapd_pin(s->heap, (struct table *)NULL);
	if (!s->node_type || !s->table_type || !s->root ||
	    heapd_local_add(s->heap, s->last, sizeof(s->last)) < 0)
		fail("begin");
}

static void live_scale(struct scale *s)
{
	uint64_t had = 0;

	live_begin(s);
	for (uint64_t mib = LIVE_MIN; mib <= s->most; mib *= 2) {
		uint64_t nodes = (mib << 20) / (sizeof(struct node) + sizeof(void *)), begin = bench_now();

		nodes_add(s, had, nodes);
		print("live", mib, "fill", (double)(bench_now() - begin) / (double)(nodes - had));
		had = nodes;
		collection_print(s, mib);
		print("live", mib, "pair", measure(s, false));
		marking_print(s, mib);
	}
}

/* ------------------------------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
	static struct scale s;
	struct heapd_options options = heapd_options_default();

	if (argc < 5) {
		fprintf(stderr,
			"usage: scale threads|classes|live SOCKET HEAP SECONDS [MIB] (scale-run starts it)\n");
		return 2;
	}
	options.socket = argv[2];
	s.run_ns = (uint64_t)(strtod(argv[4], NULL) * 1e9);
	s.most = argc > 5 ? strtoull(argv[5], NULL, 10) : LIVE_MIN;
	if (heapd_attach(&s.heap, argv[3], &options) < 0)
		fail("attach");
	if (!strcmp(argv[1], "threads"))
		threads_scale(&s);
	else if (!strcmp(argv[1], "classes"))
		classes_scale(&s);
	else
		live_scale(&s);
	return 0;
}
