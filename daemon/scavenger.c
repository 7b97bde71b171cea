/* SPDX-License-Identifier: MIT */
/*
 * Owns the thread that punches.
 *
 * To punch a memfd takes its inode's lock, which a client can keep busy with calls of its own on the same file. So
 * this is the only thread that does it; it holds no lock of ours meanwhile, and nobody waits for it: the chunk that it is at
 * is taken out of the page map before and put back after (pages.c). Should it never come back from the kernel,
 * the heap is one chunk smaller, and at the daemon's end it is left, with the heap that it works on, to the
 * process's exit.
 *
 * Only whole chunks are given back, so that huge pages stay whole, and what is committed ahead of need stays.
 */
#include "scavenger.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "clock.h"
#include "pages.h"
#include "spans.h"

#define PATIENCE_NS UINT64_C(2000000000) /* for the thread's end */

struct scavenger {
	struct heap *heap;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool stop, ended;
};

static bool punch(const struct heap *heap, uint64_t chunk)
{
	char *at = (char *)(uintptr_t)heap->t.base + (chunk << HEAPD_CHUNK_SHIFT);

	return madvise(at, HEAPD_CHUNK_SIZE, MADV_REMOVE) == 0;
}

/* False: there is no chunk to give back. */
static bool give_one(struct heap *heap, uint64_t *from)
{
	uint64_t chunk;
	bool found, punched;

	heap_lock(heap);
	found = pages_idle_take(heap->pages, from, &chunk);
	heap_unlock(heap);
	if (!found)
		return false;
	punched = punch(heap, chunk);
	heap_lock(heap);
	pages_idle_give(heap->pages, chunk, punched);
	heap_unlock(heap);
	return true;
}

static void note_idle(struct heap *heap)
{
	heap_lock(heap);
	pages_idle_note(heap->pages);
	heap_unlock(heap);
}

/* Asleep; true if it is to go on. */
static bool rest(struct scavenger *s, uint64_t ns)
{
	uint64_t until = clock_ns() + ns;
	struct timespec t = { (time_t)(until / 1000000000u), (long)(until % 1000000000u) };
	bool go_on;

	pthread_mutex_lock(&s->mutex);
	while (!s->stop && clock_ns() < until)
		pthread_cond_timedwait(&s->cond, &s->mutex, &t);
	go_on = !s->stop;
	pthread_mutex_unlock(&s->mutex);
	return go_on;
}

uint64_t scavenger_look(struct heap *heap)
{
	uint64_t from = 0, n = 0;

	while (give_one(heap, &from))
		n++;
	note_idle(heap);
	return n;
}

static void *scavenge(void *arg)
{
	struct scavenger *s = arg;

	while (rest(s, SCAVENGER_PERIOD_NS)) {
		uint64_t from = 0;

		while (give_one(s->heap, &from) && rest(s, SCAVENGER_CHUNK_NS))
			;
		note_idle(s->heap);
	}
	pthread_mutex_lock(&s->mutex);
	s->ended = true;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->mutex);
	return NULL;
}

static int thread_start(struct scavenger *s)
{
	sigset_t all, before;
	char name[16];
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&s->thread, NULL, scavenge, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	snprintf(name, sizeof(name), "free:%.9s", s->heap->name);
	pthread_setname_np(s->thread, name);
	return 0;
}

int scavenger_start(struct heap *heap)
{
	struct scavenger *s;
	pthread_condattr_t attr;
	int r;

	/* Huge pages of the pool were set aside for the whole heap. */
	if (heap->t.directory->huge == HEAPD_HUGE_HUGETLB)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->heap = heap;
	pthread_mutex_init(&s->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->cond, &attr);
	pthread_condattr_destroy(&attr);
	r = thread_start(s);
	if (r < 0)
		free(s);
	else
		heap->scavenger = s;
	return r;
}

static bool ends(struct scavenger *s)
{
	uint64_t until = clock_ns() + PATIENCE_NS;
	struct timespec t = { (time_t)(until / 1000000000u), (long)(until % 1000000000u) };
	bool ended;

	pthread_mutex_lock(&s->mutex);
	s->stop = true;
	pthread_cond_signal(&s->cond);
	while (!s->ended && clock_ns() < until)
		pthread_cond_timedwait(&s->cond, &s->mutex, &t);
	ended = s->ended;
	pthread_mutex_unlock(&s->mutex);
	return ended;
}

bool scavenger_stop(struct heap *heap)
{
	struct scavenger *s = heap->scavenger;

	if (!s)
		return true;
	if (!ends(s)) {
		log_warning(heap->log, "heap '%s': a client keeps the kernel busy with its memory file",
			    heap->name);
		return false;
	}
	heap->scavenger = NULL;
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->cond);
	pthread_mutex_destroy(&s->mutex);
	free(s);
	return true;
}
