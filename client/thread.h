/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_THREAD_H
#define HEAPD_CLIENT_THREAD_H

#include <string.h>

#include "client.h"
#include "heapd/session.h"

/* The thread-local words of an attached thread, so that detach can clear them in threads that live on. */
struct thread_words {
	struct heapd_thread **record, **self;
	const void **here;
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

/* The calling thread's own words (heapd_self and those that go with it) for being online as `self`, and for being offline. */
hidden void thread_words_online(const struct heapd_heap *heap, struct heapd_thread *self);
hidden void thread_words_offline(void);

/* offline.c: what follows, for threads that are not attached or not online. */
hidden struct heapd_thread *thread_enter_away(struct heapd_heap *heap, bool *away);
hidden void thread_leave_away(void);

/*
 * Brackets a call, or a part of one, that an offline thread must be online for (offline.c says which).
 * The record, attaching the thread if need be; NULL and errno if it cannot, and then there is nothing to
 * leave. *away: it is to go offline again, which thread_leave() does. Brackets nest.
 */
static inline struct heapd_thread *thread_enter(struct heapd_heap *heap, bool *away)
{
	*away = false;
	if (likely(heapd_self && heap == heapd_process))
		return heapd_self;
	return thread_enter_away(heap, away);
}

static inline void thread_leave(bool away)
{
	if (unlikely(away))
		thread_leave_away();
}

/* The caller runs on the stack that the thread was made with. */
static inline bool thread_is_at_home(const struct heapd_thread *self)
{
	uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);

	return here - self->stack_low < self->stack_high - self->stack_low;
}

/* What a thread saved as it went offline: for a call of its own in which it goes offline once more, and comes back. */
struct thread_saved {
	uint64_t sp, registers[sizeof(((struct heapd_thread *)0)->saved_regs) / 8];
};

static inline struct thread_saved thread_saved(const struct heapd_thread *self)
{
	struct thread_saved saved = { .sp = self->saved_sp };

	memcpy(saved.registers, self->saved_regs, sizeof(saved.registers));
	return saved;
}

/* The thread is online: whoever reads it from elsewhere makes nothing of it. */
static inline void thread_saved_restore(struct heapd_thread *self, const struct thread_saved *saved)
{
	HEAPD_WRITE_ONCE(self->saved_sp, saved->sp);
	memcpy(self->saved_regs, saved->registers, sizeof(saved->registers));
}

static inline uint32_t thread_index(const struct heapd_heap *heap, const struct heapd_thread *self)
{
	return (uint32_t)(self - heap->threads);
}

#endif
