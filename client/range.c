/* SPDX-License-Identifier: MIT */
/*
 * Registered and local ranges: memory of this process whose words are roots, or count as one thread's
 * stack. The session's table lists them; who changes it holds heap->lock. A reader sees an entry
 * whole: its start is written last when it is made, and first when it ends.
 *
 * A registered range that ends while the barrier is on is a deletion of all of its words: each is
 * shaded before, by swapping it for itself. A word that another thread stores in between is safe by
 * that thread's own barrier. Local ranges are stack, and stack words go unshaded; one ends while its
 * thread is online, so that the agent does not read memory for that thread which is to be freed.
 */
#include "range.h"

#include <errno.h>

#include "barrier.h"
#include "gate.h"
#include "thread.h"

/* The entry with this start and owner; start 0: a free one. NULL if there is none. */
static struct heapd_range *range_find(const struct heapd_session *s, uint64_t start, uint32_t thread)
{
	for (uint32_t i = 0; i < s->nranges && i < HEAPD_RANGE_MAX; i++) {
		struct heapd_range *r = range_at(s, i);
		if (r->start == start && (!start || r->thread == thread))
			return r;
	}
	return NULL;
}

static struct heapd_range *range_fresh(struct heapd_session *s)
{
	if (s->nranges >= HEAPD_RANGE_MAX)
		return NULL;
	struct heapd_range *r = range_at(s, s->nranges);
	HEAPD_STORE_RELEASE(&s->nranges, s->nranges + 1);
	return r;
}

static int range_add(struct heapd_heap *heap, void *start, size_t bytes, uint32_t thread)
{
	uint64_t at = (uint64_t)(uintptr_t)start, end;
	int result = 0;

	if (!at || at % 8 || bytes % 8 || !bytes || __builtin_add_overflow(at, bytes, &end))
		return error_set(EINVAL,
				 "a range of %zu bytes at %p is none: give whole words on an 8-byte boundary",
				 bytes, start);
	pthread_mutex_lock(&heap->lock);
	bool there = range_find(heap->session, at, thread);
	struct heapd_range *r = there ? NULL : range_find(heap->session, 0, 0);
	if (!r && !there)
		r = range_fresh(heap->session);
	if (there) {
		result = error_set(EEXIST, "a range begins at %p already: remove that one first", start);
	} else if (!r) {
		result = error_set(ENOSPC,
				   "this process has %u ranges already: register larger ones, or use pins",
				   HEAPD_RANGE_MAX);
	} else {
		r->bytes = bytes;
		r->thread = thread;
		HEAPD_STORE_RELEASE(&r->start, at);
	}
	pthread_mutex_unlock(&heap->lock);
	return result;
}

static void range_shade(const struct heapd_range *r)
{
	uint64_t *words = (uint64_t *)(uintptr_t)r->start;

	for (uint64_t i = 0; i < r->bytes / 8; i++) {
		void *word = heapd_load_sym(&words[i]);
		heapd_cas_sym(&words[i], &word, word);
	}
}

/* Ends it if the barrier is off, which cannot come on in between: the operation stands in the gate. */
static bool range_end_unshaded(struct heapd_heap *heap, struct heapd_thread *self, struct heapd_range *r)
{
	gate_enter(self);
	bool off = r->thread || !barrier_on(heap, self);
	if (off)
		HEAPD_STORE_RELEASE(&r->start, 0);
	gate_leave(self);
	return off;
}

static int range_remove(struct heapd_heap *heap, struct heapd_thread *self, void *start, uint32_t thread)
{
	uint64_t at = (uint64_t)(uintptr_t)start;

	pthread_mutex_lock(&heap->lock);
	struct heapd_range *r = at ? range_find(heap->session, at, thread) : NULL;
	if (r && !range_end_unshaded(heap, self, r)) {
		range_shade(r);
		HEAPD_STORE_RELEASE(&r->start, 0);
	}
	pthread_mutex_unlock(&heap->lock);
	return r ? 0
		 : error_set(EINVAL, "no range of this %s begins at %p: give the start of one that was added",
			     thread ? "thread" : "process", start);
}

void ranges_end(struct heapd_heap *heap, uint32_t index)
{
	for (uint32_t i = 0; i < heap->session->nranges && i < HEAPD_RANGE_MAX; i++) {
		struct heapd_range *r = range_at(heap->session, i);
		if (r->start && r->thread == 1 + index)
			HEAPD_STORE_RELEASE(&r->start, 0);
	}
}

int heapd_range_add(heapd_heap *heap, void *start, size_t bytes)
{
	return thread_self(heap) ? range_add(heap, start, bytes, 0) : -errno;
}

int heapd_range_remove(heapd_heap *heap, void *start)
{
	bool away;
	struct heapd_thread *self = thread_enter(heap, &away);
	int r = self ? range_remove(heap, self, start, 0) : -errno;

	thread_leave(away);
	return r;
}

int heapd_local_add(heapd_heap *heap, void *start, size_t bytes)
{
	struct heapd_thread *self = thread_self(heap);

	return self ? range_add(heap, start, bytes, 1 + thread_index(heap, self)) : -errno;
}

int heapd_local_remove(heapd_heap *heap, void *start)
{
	bool away;
	struct heapd_thread *self = thread_enter(heap, &away);
	int r = self ? range_remove(heap, self, start, 1 + thread_index(heap, self)) : -errno;

	thread_leave(away);
	return r;
}
