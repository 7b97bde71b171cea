/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_THREAD_H
#define HEAPD_CLIENT_THREAD_H

#include "client.h"
#include "heapd/session.h"

/* The thread-local words of an attached thread, so that detach can clear them in threads that live on. */
struct thread_words {
	struct heapd_thread **self;
	struct heapd_gate_ **gate;
};

/* With an attachment: the table of thread_words, and once in a process the key that sees threads exit. */
hidden int threads_init(struct heapd_heap *heap);

/* At detach: hands back the spares of all records, and makes every thread an unattached one. */
hidden void threads_leave(struct heapd_heap *heap);

/* Frees what threads_init() made. */
hidden void threads_free(struct heapd_heap *heap);

/*
 * In the child of a fork, under heap->lock: this thread alone is left. Its record is at the same
 * place of the child's session; it goes on there in the state that it had, online or offline.
 */
hidden int threads_forked(struct heapd_heap *heap, uint32_t state);

/* In the child of a fork that gets no heap: the thread is an unattached one. */
hidden void thread_abandon(void);

/* Brackets what an offline thread must be online for; what was saved when it went offline stands. */
static inline bool thread_enter(struct heapd_heap *heap, struct heapd_thread *self)
{
	if (likely(self->state != HEAPD_THREAD_OFFLINE))
		return false;
	heapd_thread_online(heap);
	return true;
}

static inline void thread_leave(struct heapd_thread *self, bool was_offline)
{
	if (unlikely(was_offline))
		HEAPD_STORE_RELEASE(&self->state, HEAPD_THREAD_OFFLINE);
}

static inline uint32_t thread_index(const struct heapd_heap *heap, const struct heapd_thread *self)
{
	return (uint32_t)(self - heap->threads);
}

#endif
