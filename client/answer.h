/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_ANSWER_H
#define HEAPD_CLIENT_ANSWER_H

#include "client.h"
#include "heapd/session.h"
#include "stack.h"

/* One thread's answer to one cycle's scan, while it is put together. */
struct answer {
	struct heapd_heap *heap;
	struct heapd_thread *thread;
	uint32_t cycle;
	struct stack_words out;
};

/*
 * Begins an answer for a thread that runs no operation and no answer of its own meanwhile. False: there is
 * nothing to answer any more.
 */
hidden bool answer_begin(struct answer *a, struct heapd_heap *heap, struct heapd_thread *thread,
			 uint32_t cycle);
/* The words are the answer. */
hidden void answer_end(const struct answer *a);

/* Inside the gate: the calling thread answers for itself, if the phase asks for it. */
hidden void answer_here(struct heapd_heap *heap, struct heapd_thread *self);

/*
 * With attach_lock held: chooses the handshake's signal (wanted, or with 0 one that nobody has taken), and
 * installs its handler, which stays: a signal may be on its way to a thread that blocks it. -errno.
 */
hidden int answer_init(struct heapd_heap *heap, int wanted);
/* Whether the signal's handler is still ours. */
hidden bool answer_handler_stands(const struct heapd_heap *heap);
/* A thread that comes up: the signal reaches it, and what its handler writes first is memory. */
hidden void answer_thread_init(struct heapd_heap *heap, uint32_t index);
/* After no thread's heapd_record leads into the attachment any more: waits until no handler does. */
hidden void answer_wait_handlers(void);
/* In the child of a fork, where the handlers of other threads are not. */
hidden void answer_forked(void);

/* A safepoint with something to do. */
hidden void answer_safepoint(struct heapd_heap *heap);

/*
 * A safepoint: where a thread passes anyway, with the gate left, it answers a scan that its handler has not
 * answered, be the signal blocked or on its way, and hears what the agent had to say.
 */
static inline bool answer_is_due(uint64_t now)
{
	return heapd_now_phase(now) == HEAPD_PHASE_SCAN &&
	       !(heapd_self && HEAPD_READ_ONCE(heapd_self->scanned) == heapd_now_cycle(now));
}

static inline void answer_poll(struct heapd_heap *heap)
{
	uint64_t now = HEAPD_READ_ONCE(heap->t.directory->cycle.now);

	if (unlikely(answer_is_due(now) ||
		     atomic_load_explicit(&heap->reports_waiting, memory_order_relaxed)))
		answer_safepoint(heap);
}

#endif
