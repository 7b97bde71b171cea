/* SPDX-License-Identifier: MIT */
/*
 * The loop whose gaps are compared, for C: included once by a program that has defined before
 *
 *	void *mutator_new(struct mutator *m, size_t bytes)            zeroed, or NULL
 *	void mutator_store(void *field, void *value)                  of an object that others can see
 *	void mutator_drop(struct mutator *m, struct node *node)       nothing leads to it any more
 *	void mutator_rest(struct mutator *m)                          between two batches
 *	void mutator_hold(struct mutator *m)                          makes m->chunks a root
 *
 * Each thread has lists of its own, MUTATOR_LENGTH nodes of 64 bytes long on average. One step replaces a node of one list by a new one
 * and swaps the rest of that list with another list: an allocation and four stores. So all nodes come to lie
 * anywhere, and there are as many of them at any time. Every 10 ms a batch of steps is made,
 * as many as the rate asks for; then the thread sleeps. (Not oftener: timers interrupt whoever runs.) The newest MUTATOR_HELD nodes stand on its stack.
 * java/Pause.java and go/pause.go have it again.
 */
#ifndef BENCH_MUTATOR_H
#define BENCH_MUTATOR_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cell.h"
#include "gaps.h"

#define MUTATOR_LENGTH 8u
#define MUTATOR_CHUNK  1024u
#define MUTATOR_HELD   512u
#define IDLER_PARTS    10u
#define BATCH_NS       10000000u

struct node {
	struct node *next;
	void *chunk;
	uint64_t rest[6];
};

struct mutator_plan {
	uint64_t nodes; /* of one thread */
	uint64_t steps; /* of one batch; 0: without rest */
	uint64_t run_ns;
	const unsigned *enough; /* or NULL: not 0 when it is to end earlier */
};

struct mutator {
	struct node ***chunks; /* the thread's lists: an object of pointers to objects of pointers */
	uint64_t nlists, random;
	struct gap_clock clock;
	struct gaps pauses;
	uint64_t steps, ns, cpu, wait_ns, seen;
	int failed;
};

BENCH_INLINE void *mutator_new(struct mutator *m, size_t bytes);
BENCH_INLINE void mutator_store(void *field, void *value);
BENCH_INLINE void mutator_drop(struct mutator *m, struct node *node);
static void mutator_rest(struct mutator *m);
static void mutator_hold(struct mutator *m);

BENCH_INLINE uint64_t mutator_random(struct mutator *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random;
}

BENCH_INLINE struct node **mutator_list(const struct mutator *m, uint64_t list)
{
	return &m->chunks[list / MUTATOR_CHUNK][list % MUTATOR_CHUNK];
}

static bool mutator_chunks_make(struct mutator *m, const struct mutator_plan *plan)
{
	uint64_t n = plan->nodes / MUTATOR_LENGTH / MUTATOR_CHUNK + 1;

	m->nlists = n * MUTATOR_CHUNK;
	m->chunks = mutator_new(m, n * sizeof(void *));
	if (!m->chunks)
		return false;
	mutator_hold(m);
	for (uint64_t i = 0; i < n; i++) {
		void *chunk = mutator_new(m, MUTATOR_CHUNK * sizeof(void *));

		if (!chunk)
			return false;
		mutator_store(&m->chunks[i], chunk);
	}
	return true;
}

static bool mutator_nodes_make(struct mutator *m, const struct mutator_plan *plan)
{
	for (uint64_t i = 0; i < plan->nodes; i++) {
		struct node **list = mutator_list(m, mutator_random(m) % m->nlists);
		struct node *node = mutator_new(m, sizeof(*node));

		if (!node)
			return false;
		mutator_store(&node->next, *list);
		mutator_store(list, node);
	}
	return true;
}

BENCH_INLINE void mutator_swap(struct node **a, struct node **b)
{
	struct node *x = *a, *y = *b;

	mutator_store(a, y);
	mutator_store(b, x);
}

/* The new node, or NULL: the list is empty just now, or there is no memory. */
BENCH_INLINE struct node *mutator_step(struct mutator *m)
{
	uint64_t r = mutator_random(m), from = (r >> 8) % m->nlists, to = (r >> 36) % m->nlists;
	struct node **field = mutator_list(m, from), *old, *node;

	for (uint64_t depth = r % MUTATOR_LENGTH; depth && *field && (*field)->next; depth--)
		field = &(*field)->next;
	old = *field;
	if (!old)
		return NULL;
	node = mutator_new(m, sizeof(*node));
	if (!node) {
		m->failed = errno ? errno : ENOMEM;
		return NULL;
	}
	mutator_store(&node->next, old->next);
	mutator_store(&node->chunk, m->chunks[from / MUTATOR_CHUNK]);
	mutator_store(field, node);
	mutator_store(&old->next, NULL);
	mutator_drop(m, old);
	if (from != to)
		mutator_swap(&node->next, mutator_list(m, to));
	return node;
}

static void mutator_sleep(uint64_t until)
{
	struct timespec t = { .tv_sec = (time_t)(until / 1000000000u),
			      .tv_nsec = (long)(until % 1000000000u) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

/* After the batch that began at `begin`: when the next does. A thread that is late does not catch up. */
static uint64_t mutator_wait(struct gap_clock *clock, uint64_t begin)
{
	uint64_t now = bench_now();

	if (now < begin + BATCH_NS)
		mutator_sleep(begin + BATCH_NS);
	else
		begin = now - BATCH_NS;
	gap_begin(clock);
	return begin + BATCH_NS;
}

static bool mutator_may_end(const struct mutator_plan *plan)
{
	return plan->enough && __atomic_load_n(plan->enough, __ATOMIC_RELAXED);
}

static void mutator_run(struct mutator *m, const struct mutator_plan *plan)
{
	struct node *held[MUTATOR_HELD] = { NULL };
	uint64_t begin = bench_now(), end = begin + plan->run_ns, batch = begin, now = begin;
	uint64_t cpu = gap_cpu_now(), steps = plan->steps ? plan->steps : 1000;

	gap_begin(&m->clock);
	while (now < end && !m->failed && !mutator_may_end(plan)) {
		for (uint64_t i = 0; i < steps && now < end && !m->failed; i++, m->steps++) {
			held[m->steps % MUTATOR_HELD] = mutator_step(m);
			__asm__ volatile("" : : "r"(held) : "memory"); /* so that they are stored */
			now = gap_step(&m->clock);
		}
		mutator_rest(m);
		if (plan->steps)
			batch = mutator_wait(&m->clock, batch);
	}
	m->cpu = gap_cpu_now() - cpu;
	m->ns = bench_now() - begin;
}

/*
 * What a thread loses that does nothing but read the clock, a quarter of the time; and ten times in a batch what a stretch
 * of counting takes that is as long as a usual answer of heapd's, measured as that is: by the lesser of both clocks.
 */
#define STRETCH_NS \
	1800u /* and two readings of the thread's own clock, which are half a microsecond and more */

struct idler {
	struct gap_clock clock;
	struct gaps stretches;
	unsigned turns; /* of a stretch */
	bool stop;
};

BENCH_INLINE void idler_count(unsigned turns)
{
	for (volatile unsigned i = 0; i < turns; i++)
		;
}

/* So many take STRETCH_NS on this machine, which interrupts some of the tries. */
static unsigned idler_turns(void)
{
	uint64_t least = UINT64_MAX;

	for (unsigned try = 0; try < 100; try++) {
		uint64_t begin = bench_now();

		idler_count(10000);
		least = bench_min(least, bench_now() - begin);
	}
	return (unsigned)(UINT64_C(10000) * STRETCH_NS / (least + 1));
}

static void idler_stretch(struct idler *idler)
{
	uint64_t wall = bench_now(), cpu = gap_cpu_now();

	idler_count(idler->turns);
	cpu = gap_cpu_now() - cpu;
	gaps_add(&idler->stretches, bench_min(cpu, bench_now() - wall));
}

static void *idler_run(void *arg)
{
	struct idler *idler = arg;
	uint64_t batch;

	idler->turns = idler_turns();
	batch = bench_now();
	gap_begin(&idler->clock);
	while (!__atomic_load_n(&idler->stop, __ATOMIC_RELAXED)) {
		for (unsigned part = 1; part <= IDLER_PARTS; part++) {
			while (gap_step(&idler->clock) < batch + part * (BATCH_NS / 4 / IDLER_PARTS))
				;
			idler_stretch(idler);
			gap_begin(&idler->clock);
		}
		batch = mutator_wait(&idler->clock, batch);
	}
	return NULL;
}

static void idler_print(const struct idler *idler, const char *name, const char *live)
{
	gaps_print(&idler->stretches, "stretch", name, live);
	gaps_print(&idler->clock.own, "clock-own", name, live);
	gaps_print(&idler->clock.all, "clock-wall", name, live);
}

/* So many steps a second, of n threads together. */
static uint64_t mutator_batch(const char *rate, unsigned n)
{
	uint64_t batches = 1000000000u / BATCH_NS * n;

	return (strtoull(rate, NULL, 10) + batches - 1) / batches;
}

/* Lines of all threads together. */
static void mutator_print(const struct mutator *all, unsigned n, const char *name, const char *live)
{
	static struct mutator sum;
	uint64_t rate = 0;

	sum = (struct mutator){ 0 };
	for (unsigned i = 0; i < n; i++) {
		gaps_merge(&sum.clock.all, &all[i].clock.all);
		gaps_merge(&sum.clock.own, &all[i].clock.own);
		gaps_merge(&sum.pauses, &all[i].pauses);
		sum.cpu += all[i].cpu;
		sum.steps += all[i].steps;
		sum.wait_ns += all[i].wait_ns;
		rate += all[i].ns ? all[i].steps * 1000000000u / all[i].ns : 0;
		if (all[i].failed)
			fprintf(stderr, "bench: %s: error %d in a thread\n", name, all[i].failed);
	}
	gaps_print(&sum.pauses, "pause", name, live);
	gaps_print(&sum.clock.own, "own", name, live);
	gaps_print(&sum.clock.all, "wall", name, live);
	printf("rate %s %s %llu %.1f %.1f\n", name, live, (unsigned long long)rate,
	       sum.steps ? (double)sum.cpu / (double)sum.steps : 0, (double)sum.wait_ns / 1e3);
}

#endif
