/* SPDX-License-Identifier: MIT */
/* For tests of who logs to the barrier's ring: the daemon's part is the test's, which turns the barrier on and reads the ring. */
#ifndef HEAPD_TESTS_BARRIERS_H
#define HEAPD_TESTS_BARRIERS_H

#include <check.h>

#include "alone.h"

#define WORDS 260

static struct heapd_heap *heap;
static void **objects; /* WORDS pointer words of heap memory */
static uint64_t seen;  /* ring entries looked at */

static inline void *address(unsigned i)
{
	return (char *)(uintptr_t)heap->t.base + (1ul << 20) + i * 64ul;
}

static inline void setup(void)
{
	heap = alone_attach();
	objects = (void **)(uintptr_t)heap->t.base;
	seen = 0;
}

static inline void barrier_up(void)
{
	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	heap->t.directory->cycle.now = heapd_now_make(1, HEAPD_PHASE_MARK);
	heapd_self->gate.on = 1;
}

/* The next entry of this thread's ring; NULL when there is none. */
static inline void *entry_next(void)
{
	uint64_t index = (uint64_t)(heapd_self - heap->threads);
	uint64_t *ring = (uint64_t *)(void *)((char *)heap->session + HEAPD_SESSION_BARRIER_AT) +
			 index * HEAPD_BARRIER_RING_MAX;

	if (seen == heapd_self->barrier_tail)
		return NULL;
	return (void *)(uintptr_t)ring[seen++ % HEAPD_BARRIER_RING];
}

#define ck_logged(p)        ck_assert_ptr_eq(entry_next(), p)
#define ck_nothing_logged() ck_assert_ptr_null(entry_next())

#endif
