/* SPDX-License-Identifier: MIT */
/*
 * Owns the marker's workers and their threads. How they mark, and why that is right, stands in worker.c; how they
 * share, and when a drain is over, in workpool.c.
 *
 * The first worker is the caller's thread. The others sleep in the pool but while a drain is under way, so between
 * drains the mark words, the shapes and the counts are the caller's alone; the pool's lock orders the one and the other.
 * A drain goes in portions, so that its caller can see to other things; the others work on between two of them. An
 * object of a class whose shape is not known yet was made in this drain, and is black (marks.h).
 */
#include "marker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "heapd/atomic.h"
#include "heapd/mutant.h"
#include "marks.h"
#include "worker.h"

#ifndef MARKER_PORTION
#define MARKER_PORTION 4096 /* objects, in some hundreds of microseconds */
#endif

struct marker {
	struct heap *heap;
	uint64_t *mark; /* by slab: where it marks */
	struct workpool pool;
	struct shape *shapes;
	uint32_t nshapes; /* classes whose shape is known */
	unsigned threads; /* with the caller's */
	unsigned started; /* of the others */
	bool draining;    /* a drain is under way: the others may be at work */
	struct foreign foreign;
	struct marker_counts counts;
	struct worker *workers;
};

static void *worker_main(void *data)
{
	struct worker *w = data;
	bool active = false;

	setpriority(PRIO_PROCESS, 0, MARKER_NICE);
	while (workpool_join(w->pool, active)) {
		worker_run(w, INT64_MAX);
		active = true;
	}
	return NULL;
}

static int worker_start(struct worker *w, unsigned number)
{
	sigset_t all, before;
	char name[16];
	int r;

	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* bus.h */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&w->thread, NULL, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	snprintf(name, sizeof(name), "mark%u:%.8s", number % 100, w->heap->name);
	pthread_setname_np(w->thread, name);
	return 0;
}

static int workers_init_one(struct marker *m, unsigned i, uint64_t room)
{
	m->workers[i] = (struct worker){
		.heap = m->heap,
		.shapes = m->shapes,
		.mark = m->mark,
		.pool = &m->pool,
		.foreign = &m->foreign,
	};
	return worker_init(&m->workers[i], room);
}

static int workers_init(struct marker *m, uint64_t room)
{
	int r = 0;

	m->workers = calloc(m->threads, sizeof(*m->workers));
	m->shapes = calloc(HEAPD_CLASS_MAX, sizeof(*m->shapes));
	if (!m->workers || !m->shapes)
		return -ENOMEM;
	for (unsigned i = 0; i < m->threads && r == 0; i++)
		r = workers_init_one(m, i, room);
	for (unsigned i = 1; i < m->threads && r == 0; i++) {
		r = worker_start(&m->workers[i], i);
		m->started += r == 0;
	}
	return r;
}

static int init(struct marker **marker, struct heap *heap, uint64_t *mark, unsigned threads, unsigned room)
{
	struct marker *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->heap = heap;
	m->mark = mark;
	m->threads = threads;
	r = workpool_init(&m->pool, heap, threads > 1);
	if (r < 0) {
		free(m);
		return r;
	}
	r = workers_init(m, room);
	if (r < 0) {
		marker_deinit(m);
		return r;
	}
	*marker = m;
	return 0;
}

int marker_init_queue(struct marker **marker, struct heap *heap, unsigned threads, unsigned room)
{
	return init(marker, heap, heap->marks->mark, threads, room);
}

int marker_init_over(struct marker **marker, struct heap *heap, uint64_t *mark)
{
	return init(marker, heap, mark, 1, MARKER_QUEUE);
}

int marker_init(struct marker **marker, struct heap *heap, unsigned threads)
{
	return marker_init_queue(marker, heap, threads, MARKER_QUEUE);
}

void marker_deinit(struct marker *m)
{
	if (!m)
		return;
	workpool_stop(&m->pool);
	for (unsigned i = 1; i <= m->started; i++)
		pthread_join(m->workers[i].thread, NULL);
	for (unsigned i = 0; m->workers && i < m->threads; i++)
		worker_deinit(&m->workers[i]);
	workpool_deinit(&m->pool);
	foreign_deinit(&m->foreign);
	free(m->workers);
	free(m->shapes);
	free(m);
}

/*
 * Classes that came since the last look. One that comes during a drain waits for the next: its spans are cut then
 * with all their mark bits set, so that none of its objects is ever white in between.
 */
static void shapes_update(struct marker *m)
{
	uint32_t n = HEAPD_LOAD_ACQUIRE(&m->heap->t.directory->nclasses);

	while (m->nshapes < n && shape_make(&m->shapes[m->nshapes], m->heap, m->nshapes))
		m->nshapes++;
}

void marker_give_up(struct marker *m)
{
	while (m->draining && m->pool.shared)
		marker_drain(m);
	m->draining = false;
}

void marker_begin(struct marker *m)
{
	shapes_update(m);
	for (unsigned i = 0; i < m->threads; i++)
		worker_clear(&m->workers[i]);
	workpool_clear(&m->pool);
	foreign_clear(&m->foreign);
	m->counts = (struct marker_counts){ 0 };
}

bool marker_shade(struct marker *m, uint64_t word)
{
	return marker_shade_all(m, &word, 1, false) != 0;
}

uint64_t marker_shade_all(struct marker *m, const uint64_t *words, uint64_t n, bool past)
{
	struct worker *w = &m->workers[0];
	uint64_t before = w->counts.objects;

	if (!m->draining)
		shapes_update(m);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t word = HEAPD_READ_ONCE(words[i]);

		worker_candidate(w, word);
		if (past && !MUTANT(no_past))
			worker_candidate(w, word - 1);
	}
	worker_settle(w);
	return w->counts.objects - before;
}

static void counts_sum(struct marker *m)
{
	m->counts = (struct marker_counts){ 0 };
	for (unsigned i = 0; i < m->threads; i++) {
		const struct marker_counts *c = &m->workers[i].counts;

		m->counts.objects += c->objects;
		m->counts.bytes += c->bytes;
		m->counts.words += c->words;
		m->counts.foreign += c->foreign;
		m->counts.overflows += c->overflows;
	}
}

bool marker_drain(struct marker *m)
{
	if (!m->draining) {
		shapes_update(m);
		workpool_open(&m->pool);
	}
	m->draining = !worker_run(&m->workers[0], MARKER_PORTION) || !workpool_wait(&m->pool);
	if (!m->draining)
		counts_sum(m);
	return !m->draining;
}

uint64_t marker_portions(const struct marker *m)
{
	return atomic_load_explicit(&m->pool.done.count, memory_order_relaxed);
}

const struct marker_counts *marker_counts(const struct marker *m)
{
	return &m->counts;
}

uint64_t marker_foreign(const struct marker *m, uint32_t type, uint64_t word)
{
	return foreign_read(&m->foreign, type, word);
}

const struct foreign *marker_foreign_all(const struct marker *m)
{
	return &m->foreign;
}
