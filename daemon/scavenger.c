/* SPDX-License-Identifier: MIT */
/*
 * Owns the thread that gives memory back.
 *
 * To punch a memfd takes its inode's lock, which a client can keep busy with calls of its own on the same file, or hold. So
 * it is done by a process of its own (punch.c), of one chunk at a time; no lock of ours is held meanwhile, and nobody waits for
 * it, this thread but for a moment: what goes is taken out of the page map before and put back after (pages.c). Should the
 * process never come back from the kernel, the heap is smaller by a chunk at most, and no more memory is given back until it does.
 *
 * What is committed ahead of need stays; and so does a huge page, unless half of it has been idle (pages.c).
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

struct scavenger {
	struct heap *heap;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	uint64_t period; /* ns between two looks */
	bool stop;
};

static void give_back(struct heap *heap, bool punched)
{
	heap_lock(heap);
	pages_idle_give(heap->pages, punched);
	heap_unlock(heap);
}

/* What was begun by us, or by the daemon before us. False: it is not over. */
static bool is_settled(struct heap *heap, uint64_t ns)
{
	bool was_late = heap->punch.late;
	int r = punch_is_late(&heap->punch) ? -ETIMEDOUT : punch_wait(&heap->punch, ns);

	if (r == -ETIMEDOUT)
		return false;
	if (r >= 0)
		give_back(heap, r);
	else if (was_late && heap->ledger->head->hole.chunk)
		give_back(heap, true);
	return true;
}

static void tell_held(struct heap *heap)
{
	log_limited(
		heap->log, &heap->held, LOG_WARNING,
		"heap '%s': a client keeps the kernel busy with the heap's memory file, so that nothing can be given "
		"back to the system: see which of them waits in a system call on it (heapctl clients), and end it",
		heap->name);
}

/* Run by run of the pages that go. */
static int punch_hole(struct heap *heap)
{
	const struct ledger_hole *hole = &heap->ledger->head->hole;
	char *at = (char *)(uintptr_t)heap->t.base + ((hole->chunk - 1) << HEAPD_CHUNK_SHIFT);

	punch_clear(&heap->punch);
	for (uint64_t page = 0, n; page < HEAPD_CHUNK_PAGES; page += n + 1) {
		for (n = 0;
		     page + n < HEAPD_CHUNK_PAGES && hole->pages[(page + n) / 64] >> ((page + n) % 64) & 1;
		     n++)
			;
		if (n)
			punch_add(&heap->punch, at + (page << HEAPD_PAGE_SHIFT), n << HEAPD_PAGE_SHIFT);
	}
	return punch_begin(&heap->punch);
}

/* False: there is nothing to give back, or it cannot be. */
static bool give_one(struct heap *heap, uint64_t *from)
{
	bool found;

	heap_lock(heap);
	found = pages_idle_take(heap->pages, from);
	heap_unlock(heap);
	if (!found)
		return false;
	if (punch_hole(heap) < 0) {
		give_back(heap, false);
		return false;
	}
	if (is_settled(heap, PUNCH_PATIENCE_NS))
		return true;
	tell_held(heap);
	return false;
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

	while (is_settled(heap, 0) && give_one(heap, &from))
		n++;
	note_idle(heap);
	return n;
}

static void *scavenge(void *arg)
{
	struct scavenger *s = arg;

	while (rest(s, s->period)) {
		uint64_t from = 0;

		while (is_settled(s->heap, 0) && give_one(s->heap, &from) && rest(s, SCAVENGER_CHUNK_NS))
			;
		note_idle(s->heap);
	}
	return NULL;
}

static int thread_start(struct scavenger *s)
{
	sigset_t all, before;
	char name[16];
	int r;

	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* bus.h */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&s->thread, NULL, scavenge, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	snprintf(name, sizeof(name), "free:%.9s", s->heap->name);
	pthread_setname_np(s->thread, name);
	return 0;
}

int scavenger_start_every(struct heap *heap, uint64_t period_ns)
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
	s->period = period_ns;
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

int scavenger_start(struct heap *heap)
{
	return scavenger_start_every(heap, SCAVENGER_PERIOD_NS);
}

void scavenger_stop(struct heap *heap)
{
	struct scavenger *s = heap->scavenger;

	if (!s)
		return;
	pthread_mutex_lock(&s->mutex);
	s->stop = true;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->mutex);
	heap->scavenger = NULL;
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->cond);
	pthread_mutex_destroy(&s->mutex);
	free(s);
}
