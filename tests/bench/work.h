/* SPDX-License-Identifier: MIT */
/*
 * Four kinds of work for collectors, for C: included once by a program that has defined before
 *
 *	void *work_new(size_t bytes, bool leaf)          zeroed, or NULL; leaf: it holds no pointers
 *	void work_store(void *field, void *value)
 *	bool work_hold(struct work *w, void *object)     makes it a root
 *	void work_rest(struct work *w)                   now and then
 *
 * a: blocks of 1 MiB in a loop, a hundred of them kept. b: buffers of 10 KiB, dropped at once. c: a random graph of nodes
 * of 64 bytes with four edges each; a step turns an edge, or replaces a node (and clears the old one's edges, so that it keeps
 * nothing). d: a cache of entries with values of 256 bytes to 2 KiB; what is not found is made, in the place of another.
 * Each thread has its own, without rest, and so many steps as it can. java/Work.java and go/work.go have them again.
 *
 * Counted is what comes after a third as long again: until then code is compiled, and heaps grow. Java's are committed before it begins,
 * and ZGC's, by fallocate(), touched as well, which is a matter of seconds where the machine has the memory from another one.
 */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cell.h"
#include "gaps.h"

#define WORK_THREADS 128u
#define WORK_KEPT    100u
#define WORK_BLOCK   (1ul << 20)
#define WORK_BUFFER  10240u
#define WORK_NODES   250000u /* of each thread */
#define WORK_EDGES   4u
#define WORK_ENTRIES 25000u
#define WORK_WARM    3u /* a part of the time counted, before it */

struct work {
	char kind;
	void **table;
	uint64_t random, steps, counted, ns, run_ns, seen;
	struct gaps pauses;
	int failed;
};

struct work_node {
	struct work_node *edges[WORK_EDGES];
	uint64_t rest[4];
};

struct work_entry {
	void *value;
	uint64_t key;
};

BENCH_INLINE void *work_new(size_t bytes, bool leaf);
BENCH_INLINE void work_store(void *field, void *value);
static bool work_hold(struct work *w, void *object);
BENCH_INLINE void work_rest(struct work *w);

BENCH_INLINE uint64_t work_random(struct work *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

BENCH_INLINE bool step_blocks(struct work *w)
{
	char *block = work_new(WORK_BLOCK, true);

	if (!block)
		return false;
	block[0] = block[WORK_BLOCK - 1] = 1;
	work_store(&w->table[w->steps % WORK_KEPT], block);
	return true;
}

BENCH_INLINE bool step_buffers(struct work *w)
{
	char *buffer = work_new(WORK_BUFFER, true);

	(void)w;
	if (!buffer)
		return false;
	buffer[0] = buffer[WORK_BUFFER - 1] = 1;
	__asm__ volatile("" : : "r"(buffer) : "memory");
	return true;
}

static bool node_replace(struct work *w, uint64_t at)
{
	struct work_node *node = work_new(sizeof(*node), false), *old = w->table[at];

	if (!node)
		return false;
	for (unsigned k = 0; k < WORK_EDGES; k++)
		work_store(&node->edges[k], w->table[work_random(w) % WORK_NODES]);
	work_store(&w->table[at], node);
	for (unsigned k = 0; old && k < WORK_EDGES; k++)
		work_store(&old->edges[k], NULL);
	return true;
}

BENCH_INLINE bool step_graph(struct work *w)
{
	uint64_t r = work_random(w), at = (r >> 20) % WORK_NODES;
	struct work_node *node = w->table[at];

	if (r % 4 == 0 || !node)
		return node_replace(w, at);
	work_store(&node->edges[r % WORK_EDGES], w->table[work_random(w) % WORK_NODES]);
	return true;
}

BENCH_INLINE bool step_cache(struct work *w)
{
	uint64_t r = work_random(w), key = (r >> 20) % (2 * WORK_ENTRIES) + 1;
	struct work_entry *entry = w->table[key % WORK_ENTRIES];
	void *value;

	if (entry && entry->key == key)
		return true;
	value = work_new(256 + r % 1793, true);
	entry = value ? work_new(sizeof(*entry), false) : NULL;
	if (!entry)
		return false;
	entry->key = key;
	work_store(&entry->value, value);
	work_store(&w->table[key % WORK_ENTRIES], entry);
	return true;
}

BENCH_INLINE bool work_step(struct work *w, char kind)
{
	switch (kind) {
	case 'a':
		return step_blocks(w);
	case 'b':
		return step_buffers(w);
	case 'c':
		return step_graph(w);
	default:
		return step_cache(w);
	}
}

static bool table_make(struct work *w)
{
	size_t places = w->kind == 'a' ? WORK_KEPT : w->kind == 'c' ? WORK_NODES : WORK_ENTRIES;

	if (w->kind == 'b')
		return true;
	w->table = work_new(places * sizeof(*w->table), false);
	if (!w->table || !work_hold(w, w->table))
		return false;
	for (uint64_t i = 0; w->kind == 'c' && i < WORK_NODES; i++)
		if (!node_replace(w, i))
			return false;
	return true;
}

/* With the kind known: a loop of its own. */
BENCH_INLINE void work_loop(struct work *w, char kind)
{
	uint64_t begin = bench_now(), counted = begin + w->run_ns / WORK_WARM, end = counted + w->run_ns,
		 now = begin, before = 0;

	while (now < end && !w->failed) {
		for (unsigned i = 0; i < (kind <= 'b' ? 1 : 64); i++, w->steps++)
			if (!work_step(w, kind))
				w->failed = errno ? errno : ENOMEM;
		work_rest(w);
		now = bench_now();
		if (now < counted) {
			begin = now;
			before = w->steps;
		}
	}
	w->ns = now - begin;
	w->counted = w->steps - before;
}

static void *work_run(void *arg)
{
	struct work *w = arg;

	if (!table_make(w))
		w->failed = errno ? errno : ENOMEM;
	else if (w->kind == 'a')
		work_loop(w, 'a');
	else if (w->kind == 'b')
		work_loop(w, 'b');
	else if (w->kind == 'c')
		work_loop(w, 'c');
	else
		work_loop(w, 'd');
	return NULL;
}

/* Most that has been resident, MiB. */
static inline double work_peak(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kib = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return (double)kib / 1024;
}

/* "work KIND NAME steps/s MiB", and the pauses. */
static int work_print(const struct work *all, unsigned n, const char *name, const struct gaps *pauses,
		      double mib)
{
	static struct gaps sum;
	char kind[2] = { all[0].kind, '\0' };
	double rate = 0;

	for (unsigned i = 0; i < n; i++) {
		if (all[i].failed) {
			fprintf(stderr, "bench: work %s: %s: %s\n", kind, name, strerror(all[i].failed));
			return 1;
		}
		rate += all[i].ns ? (double)all[i].counted * 1e9 / (double)all[i].ns : 0;
		gaps_merge(&sum, &all[i].pauses);
	}
	if (pauses)
		gaps_merge(&sum, pauses);
	printf("work %s %s %.0f %.0f\n", kind, name, rate, mib);
	gaps_print(&sum, "workpause", name, kind);
	return 0;
}

/* Threads that work; returns when they have ended. */
static void work_threads(struct work *all, unsigned n, char kind, double seconds, void *(*create)(void *),
			 int (*start)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *),
			 int (*end)(pthread_t, void **))
{
	pthread_t threads[WORK_THREADS];

	for (unsigned i = 0; i < n; i++) {
		all[i].kind = kind;
		all[i].random = 0x9e3779b97f4a7c15ull * (i + 1);
		all[i].run_ns = (uint64_t)(seconds * 1e9);
		start(&threads[i], NULL, create, &all[i]);
	}
	for (unsigned i = 0; i < n; i++)
		end(threads[i], NULL);
}

#endif
