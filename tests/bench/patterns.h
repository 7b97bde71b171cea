/* SPDX-License-Identifier: MIT */
/*
 * The patterns of the allocator papers, for workers that are processes or threads: larson, xmalloc, cache-scratch.
 * (Their threadtest is BENCH_BURST by several workers.) loops.h includes this; a contender's functions are as there.
 *
 * larson (Larson and Krishnan): a server's objects outlive the worker that made them. There is a block of LARSON_OBJECTS
 * for each worker; a worker takes one that nobody has, replaces objects in it at random, and leaves it to whoever
 * comes next. xmalloc (Lever and Boreham): each frees what its neighbour allocates. cache-scratch (Berger): each worker
 * frees an object that worker 0 allocated, then writes again and again to one of its own of the same size: slow
 * where two workers get objects in one cache line.
 *
 * Objects that lie in blocks and rings at a run's end are there at the next one's beginning.
 */
#ifndef BENCH_PATTERNS_H
#define BENCH_PATTERNS_H

#define LARSON_OBJECTS 1000u
#define LARSON_TURN    2000u /* replacements before a block is left */
#define SCRATCH_SIZE   16u
#define SCRATCH_WRITES 200u /* of each byte of the first word */

/* Which of a contender's rings a pattern has. */
#define RING_XMALLOC (BENCH_PROCS / 2)
#define RING_LARSON  (RING_XMALLOC + BENCH_PROCS)
#define RING_SCRATCH (RING_LARSON + BENCH_PROCS)
#if RING_SCRATCH + 1 != BENCH_RINGS
#error "as many rings as there are"
#endif

BENCH_INLINE uint64_t pattern_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The head of a block's ring is its lock, which no worker waits for. */
static struct bench_ring *larson_take(struct bench_ring *const *blocks, unsigned n, unsigned from)
{
	for (unsigned i = 0;; i++) {
		struct bench_ring *block = blocks[(from + i) % n];

		if (!__atomic_exchange_n(&block->head, 1, __ATOMIC_ACQUIRE))
			return block;
		if (i % n == n - 1)
			sched_yield();
	}
}

/* Ops: fewer than LARSON_TURN if there was no memory. */
static uint64_t larson_turn(struct bench_worker *w, struct bench_ring *block, uint32_t size, uint64_t *state)
{
	for (uint64_t i = 0; i < LARSON_TURN; i++) {
		uint64_t r = pattern_random(state);
		void **slot = &block->slots[(r >> 32) % LARSON_OBJECTS];
		void *object = loop_get(w, loop_size(w, size, r), false), *old = bench_take(w, slot);

		if (__builtin_expect(!object, 0))
			return i;
		bench_pass(w, slot, object);
		if (old)
			bench_put(w, old);
	}
	return LARSON_TURN;
}

static void larson_run(struct bench_worker *w, const struct bench_request *request, uint64_t run_ns,
		       struct bench_report *report)
{
	struct bench_ring *blocks[BENCH_PROCS];
	uint64_t state = 0x9e3779b97f4a7c15ull * (w->index + 1), n = LARSON_TURN;

	for (unsigned i = 0; i < request->procs; i++)
		blocks[i] = bench_ring_of(w, RING_LARSON + i);
	report->start = bench_now();
	for (unsigned turn = 0; n == LARSON_TURN && bench_now() < report->start + run_ns; turn++) {
		struct bench_ring *block = larson_take(blocks, request->procs, w->index + turn);

		n = larson_turn(w, block, request->size, &state);
		__atomic_store_n(&block->head, 0, __ATOMIC_RELEASE);
		report->ops += n;
	}
	if (n < LARSON_TURN)
		report->failed = (uint64_t)errno;
}

/* Both ends of a ring give way: what is full or empty is looked at again in the next turn. */
static bool xmalloc_produce(struct bench_worker *w, struct bench_ring *ring, uint32_t size, bool *full)
{
	uint64_t tail = ring->tail;

	*full = tail + BENCH_RING_STEP - __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) > BENCH_RING_SLOTS;
	for (uint64_t i = 0; i < BENCH_RING_STEP && !*full; i++) {
		void *object = loop_get(w, loop_size(w, size, tail + i), false);

		if (__builtin_expect(!object, 0))
			return false;
		bench_pass(w, &ring->slots[(tail + i) % BENCH_RING_SLOTS], object);
	}
	if (!*full)
		__atomic_store_n(&ring->tail, tail + BENCH_RING_STEP, __ATOMIC_RELEASE);
	return true;
}

static uint64_t xmalloc_consume(struct bench_worker *w, struct bench_ring *ring)
{
	uint64_t head = ring->head, tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE), n = tail - head;

	for (; head < tail; head++)
		bench_put(w, bench_take(w, &ring->slots[head % BENCH_RING_SLOTS]));
	__atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
	return n;
}

static void xmalloc_run(struct bench_worker *w, const struct bench_request *request, uint64_t run_ns,
			struct bench_report *report)
{
	struct bench_ring *out = bench_ring_of(w, RING_XMALLOC + w->index),
			  *in = bench_ring_of(w, RING_XMALLOC + (w->index + 1) % request->procs);
	bool full = false;

	report->start = bench_now();
	while (bench_now() < report->start + run_ns) {
		uint64_t freed = 0;

		for (unsigned i = 0; i < 16; i++) {
			if (!xmalloc_produce(w, out, request->size, &full)) {
				report->failed = (uint64_t)errno;
				return;
			}
			freed += xmalloc_consume(w, in);
		}
		report->ops += freed;
		if (!freed && full)
			sched_yield();
	}
}

/* Worker 0 allocates for all, side by side. */
static void *scratch_first(struct bench_worker *w, const struct bench_request *request)
{
	struct bench_ring *ring = bench_ring_of(w, RING_SCRATCH);
	void **slot = &ring->slots[w->index], *object;

	for (unsigned i = 0; i < request->procs && w->index == 0; i++)
		bench_pass(w, &ring->slots[i], loop_get(w, SCRATCH_SIZE, false));
	while (!(object = bench_take(w, slot)))
		sched_yield();
	bench_pass(w, slot, NULL);
	return object;
}

static void scratch_run(struct bench_worker *w, const struct bench_request *request, uint64_t run_ns,
			struct bench_report *report)
{
	void *object = scratch_first(w, request);

	report->start = bench_now();
	do {
		for (unsigned i = 0; i < 64; i++, report->ops++) {
			bench_put(w, object);
			object = loop_get(w, SCRATCH_SIZE, false);
			if (__builtin_expect(!object, 0)) {
				report->failed = (uint64_t)errno;
				return;
			}
			for (unsigned k = 0; k < SCRATCH_WRITES; k++)
				((volatile char *)object)[k % 8]++;
		}
	} while (bench_now() < report->start + run_ns);
	bench_put(w, object);
}

static void bench_pattern_run(struct bench_worker *w, const struct bench_request *request, uint64_t run_ns,
			      struct bench_report *report)
{
	uint64_t delay = bench_delay(w);

	if (request->loop == BENCH_LARSON)
		larson_run(w, request, run_ns, report);
	else if (request->loop == BENCH_XMALLOC)
		xmalloc_run(w, request, run_ns, report);
	else
		scratch_run(w, request, run_ns, report);
	report->end = bench_now();
	report->timed = report->end - report->start;
	report->delay = bench_delay(w) - delay;
}

#endif
