/* SPDX-License-Identifier: MIT */
/*
 * An attachment without a daemon, for tests of what the client library does on its own: heap,
 * directory, control and session are private memory of this process. Requests fail with EAGAIN. There is
 * no agent; the handshake's signal is there.
 */
#ifndef HEAPD_TESTS_ALONE_H
#define HEAPD_TESTS_ALONE_H

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client/answer.h"
#include "client/client.h"
#include "client/thread.h"
#include "heapd/session.h"

static inline void *alone_memory(uint64_t bytes)
{
	void *p =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

static inline struct heapd_heap *alone_attach(void)
{
	struct heapd_heap *heap = (struct heapd_heap *)calloc(1, sizeof(*heap));

	ck_assert_ptr_nonnull(heap);
	ck_assert(heapd_geometry_compute(&heap->geometry, HEAPD_SIZE_MIN, 1));
	char *base = (char *)alone_memory(heap->geometry.total);
	heapd_tables_init(&heap->t, &heap->geometry, (uint64_t)(uintptr_t)base,
			  base + heap->geometry.directory_at, base + heap->geometry.control_at);
	heap->session = (struct heapd_session *)alone_memory(HEAPD_SESSION_SIZE);
	heap->session->barrier_ring = HEAPD_BARRIER_RING;
	heap->session->room[HEAPD_ROOM_THREADS] = HEAPD_THREAD_MAX;
	heap->session->room[HEAPD_ROOM_PINS] = HEAPD_PIN_MAX;
	heap->threads = (struct heapd_thread *)(void *)((char *)heap->session + HEAPD_SESSION_THREAD_AT);
	strcpy(heap->name, "test");
	heap->socket = heap->notify = -1;
	atomic_store(&heap->away, 1);
	atomic_store(&heap->away_reported, 1);
	pthread_mutex_init(&heap->lock, NULL);
	pthread_mutex_init(&heap->request_lock, NULL);
	ck_assert_int_eq(threads_init(heap), 0);
	ck_assert_int_eq(answer_init(heap, 0), 0);
	heapd_process = heap;
	return heap;
}

#endif
