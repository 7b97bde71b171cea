/* SPDX-License-Identifier: MIT */
/*
 * The loops, compiled once for each contender, so that each has its calls as a program would: with the size
 * known where it is fixed (a memset() of it becomes a few stores), and nothing in between.
 *
 * A contender defines, before it includes this:
 *   void *bench_get(struct bench_worker *, size_t size)   allocate, NULL and errno if it cannot be
 *   void bench_put(struct bench_worker *, void *object)   free
 *   void bench_pass(struct bench_worker *, void **slot, void *object)   store in a ring; NULL ends a run
 *   void *bench_take(struct bench_worker *, void **slot)  load from a ring
 *   struct bench_ring *bench_ring_of(struct bench_worker *, unsigned number)   one of BENCH_RINGS, zeroed at first
 * and hands bench_loops_run() to crew_start().
 *
 * The first word of each object is written in every loop. Pointers go through an empty asm, so that no compiler
 * leaves out an allocation that is freed at once, or makes malloc() and memset() into calloc().
 */
#ifndef BENCH_LOOPS_H
#define BENCH_LOOPS_H

#include <errno.h>
#include <string.h>

#include "crew.h"
#include "ring.h"

BENCH_INLINE size_t loop_size(const struct bench_worker *w, uint32_t size, uint64_t i)
{
	return size == BENCH_MIX ? w->mix[i & (BENCH_MIXED - 1)] : size;
}

BENCH_INLINE void *loop_get(struct bench_worker *w, size_t size, bool zero)
{
	void *object = bench_get(w, size);

	if (__builtin_expect(!object, 0))
		return NULL;
	__asm__ volatile("" : "+r"(object) : : "memory");
	if (zero)
		memset(object, 0, size);
	__asm__ volatile("" : "+r"(object) : : "memory");
	*(volatile uint64_t *)object = size;
	return object;
}

/* The number of objects done: fewer than asked for if there was no memory. */
BENCH_INLINE uint64_t step_pair(struct bench_worker *w, uint32_t size, bool zero)
{
	for (uint64_t i = 0; i < BENCH_CHUNK; i++) {
		void *object = loop_get(w, loop_size(w, size, i), zero);

		if (__builtin_expect(!object, 0))
			return i;
		bench_put(w, object);
	}
	return BENCH_CHUNK;
}

BENCH_INLINE uint64_t step_alloc(struct bench_worker *w, uint32_t size, bool zero)
{
	void **objects = w->objects;

	for (uint64_t i = 0; i < BENCH_CHUNK; i++) {
		objects[i] = loop_get(w, loop_size(w, size, i), zero);
		if (__builtin_expect(!objects[i], 0))
			return i;
	}
	return BENCH_CHUNK;
}

BENCH_INLINE uint64_t step_produce(struct bench_worker *w, struct bench_ring *ring, uint32_t size, bool zero)
{
	uint64_t i, tail = ring->tail;

	if (tail + BENCH_RING_STEP > BENCH_RING_SLOTS)
		bench_ring_wait(&ring->head, tail + BENCH_RING_STEP - BENCH_RING_SLOTS);
	for (i = 0; i < BENCH_RING_STEP; i++) {
		void *object = loop_get(w, loop_size(w, size, tail + i), zero);

		if (__builtin_expect(!object, 0))
			break;
		bench_pass(w, &ring->slots[(tail + i) % BENCH_RING_SLOTS], object);
	}
	__atomic_store_n(&ring->tail, tail + i, __ATOMIC_RELEASE);
	return i;
}

struct bench_steps {
	uint64_t (*pair)(struct bench_worker *w);
	uint64_t (*alloc)(struct bench_worker *w);
	uint64_t (*produce)(struct bench_worker *w, struct bench_ring *ring);
};

#define BENCH_STEPS(size, zero)                                                                  \
	static uint64_t pair_##size##_##zero(struct bench_worker *w)                             \
	{                                                                                        \
		return step_pair(w, size, zero);                                                 \
	}                                                                                        \
	static uint64_t alloc_##size##_##zero(struct bench_worker *w)                            \
	{                                                                                        \
		return step_alloc(w, size, zero);                                                \
	}                                                                                        \
	static uint64_t produce_##size##_##zero(struct bench_worker *w, struct bench_ring *ring) \
	{                                                                                        \
		return step_produce(w, ring, size, zero);                                        \
	}
#define BENCH_EACH_SIZE(x, zero) x(16, zero) x(64, zero) x(256, zero) x(1024, zero) x(4096, zero) x(0, zero)
#define BENCH_ENTRY(size, zero)  { pair_##size##_##zero, alloc_##size##_##zero, produce_##size##_##zero },

BENCH_EACH_SIZE(BENCH_STEPS, 0)
BENCH_EACH_SIZE(BENCH_STEPS, 1)

/* In the order of bench_sizes. */
static const struct bench_steps bench_steps[2][BENCH_SIZES] = {
	{ BENCH_EACH_SIZE(BENCH_ENTRY, 0) },
	{ BENCH_EACH_SIZE(BENCH_ENTRY, 1) },
};

static const struct bench_steps *steps_for(const struct bench_request *request)
{
	size_t i = 0;

	while (bench_sizes[i] != request->size)
		i++;
	return &bench_steps[request->zero != 0][i];
}

static void objects_put(struct bench_worker *w, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		bench_put(w, w->objects[i]);
}

static void loop_pairs(struct bench_worker *w, const struct bench_steps *steps, uint64_t run_ns,
		       struct bench_report *report)
{
	uint64_t n = BENCH_CHUNK;

	report->delay = bench_delay(w);
	report->start = bench_now();
	while (n == BENCH_CHUNK && (report->end = bench_now()) < report->start + run_ns) {
		n = steps->pair(w);
		report->ops += n;
	}
	report->timed = report->end - report->start;
	report->delay = bench_delay(w) - report->delay;
	if (n < BENCH_CHUNK)
		report->failed = (uint64_t)errno;
}

static void loop_chunks(struct bench_worker *w, const struct bench_steps *steps, uint64_t run_ns,
			bool free_timed, struct bench_report *report)
{
	uint64_t n = BENCH_CHUNK, delay, before, after;

	report->start = bench_now();
	do {
		delay = bench_delay(w);
		before = bench_now();
		n = steps->alloc(w);
		if (n < BENCH_CHUNK)
			report->failed = (uint64_t)errno;
		if (free_timed)
			objects_put(w, n);
		after = bench_now();
		report->delay += bench_delay(w) - delay;
		if (!free_timed)
			objects_put(w, n);
		report->timed += after - before;
		report->ops += n;
		report->end = bench_now();
	} while (n == BENCH_CHUNK && report->timed < run_ns);
}

static void loop_produce(struct bench_worker *w, const struct bench_steps *steps, uint64_t run_ns,
			 struct bench_report *report)
{
	struct bench_ring *ring = bench_ring_of(w, w->index / 2);
	uint64_t n = BENCH_RING_STEP;

	report->start = bench_now();
	do {
		for (unsigned i = 0; i < 16 && n == BENCH_RING_STEP; i++)
			n = steps->produce(w, ring);
	} while (n == BENCH_RING_STEP && bench_now() < report->start + run_ns);
	if (n < BENCH_RING_STEP)
		report->failed = (uint64_t)errno;
	if (ring->tail + 1 > BENCH_RING_SLOTS)
		bench_ring_wait(&ring->head, ring->tail + 1 - BENCH_RING_SLOTS);
	bench_pass(w, &ring->slots[ring->tail % BENCH_RING_SLOTS], NULL);
	__atomic_store_n(&ring->tail, ring->tail + 1, __ATOMIC_RELEASE);
	report->end = bench_now();
}

static void loop_consume(struct bench_worker *w, struct bench_report *report)
{
	struct bench_ring *ring = bench_ring_of(w, w->index / 2);
	uint64_t head = ring->head, tail;
	void *object = NULL;

	report->start = bench_now();
	do {
		tail = bench_ring_wait(&ring->tail, head + 1);
		if (tail - head > BENCH_RING_STEP)
			tail = head + BENCH_RING_STEP;
		do {
			object = bench_take(w, &ring->slots[head++ % BENCH_RING_SLOTS]);
			if (!object)
				break;
			(void)*(volatile uint64_t *)object;
			bench_put(w, object);
			report->ops++;
		} while (head < tail);
		__atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
	} while (object);
	report->end = bench_now();
}

#include "patterns.h"

static void bench_loops_run(struct bench_worker *w, const struct bench_request *request, uint64_t run_ns,
			    struct bench_report *report)
{
	const struct bench_steps *steps = steps_for(request);

	switch (request->loop) {
	case BENCH_PAIR:
		loop_pairs(w, steps, run_ns, report);
		break;
	case BENCH_ALLOC:
		loop_chunks(w, steps, run_ns, false, report);
		break;
	case BENCH_BURST:
		loop_chunks(w, steps, run_ns, true, report);
		break;
	case BENCH_LARSON:
	case BENCH_XMALLOC:
	case BENCH_SCRATCH:
		bench_pattern_run(w, request, run_ns, report);
		break;
	default:
		if (w->index % 2)
			loop_consume(w, report);
		else
			loop_produce(w, steps, run_ns, report);
	}
}

#endif
