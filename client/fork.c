/* SPDX-License-Identifier: MIT */
/*
 * fork(): the child is a client of its own from its first instruction.
 *
 * Before the fork, in the parent: the daemon makes the child's session and hands over its sockets;
 * what roots the child inherits is written there: the pins, the ranges, the forking thread's record
 * and, as its published words, every heap pointer on its stack and in registered ranges. So nothing
 * that the child will hold is unknown at any time, whatever the parent does after the fork. Pins are
 * copied at that moment: one that another thread changes before the fork proper has its older value
 * in the child, as if it had been changed just after.
 *
 * The words stand (HEAPD_PUBLISHED_STANDING) until a cycle asks the child itself (thread.c). No part of this needs
 * the agent, which does not get heap->lock meanwhile: the forking
 * thread has left its gate, and answers by its handler.
 *
 * In the child: heap and session are not there (MADV_DONTFORK), and are mapped again at the same
 * addresses, so that every pointer, every pin and the thread's record stay where they were.
 *
 * The handlers hold all locks of the library across the fork, in their order, so the child finds
 * nothing half done. The watches' lock comes last, and only when the child is prepared: the agent takes
 * it, and must not wait for the daemon's answer. No agent of the child's looks at the parent's watches, so
 * they end in the child; their pins, which it has copies of, end with its first heapd_wait_fd(). A child
 * that could not be made a client has no heap: the reason waits in heapd_error(). It keeps the
 * directory mapped and no CPU's row, so that calls with the old handle fail with that reason; its
 * objects are gone.
 */
#include "fork.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent.h"
#include "answer.h"
#include "attach.h"
#include "clock.h"
#include "event.h"
#include "heapd/delay.h"
#include "heapd/session.h"
#include "map.h"
#include "range.h"
#include "reconnect.h"
#include "request.h"
#include "stack.h"
#include "thread.h"
#include "watch.h"

enum { CHILD_SOCKET, CHILD_SESSION, CHILD_NOTIFY, CHILD_FDS };

struct fork_child {
	int fds[CHILD_FDS];
	int result; /* 0, or -errno: the child is to have no heap */
	uint64_t session_id;
	uint32_t index;
	uint32_t state; /* of the forking thread: online or offline */
	char reason[320];
};

/* In a child without a heap: the handle that it inherited. */
/* NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): of the one attachment */
static struct heapd_heap *fork_orphan;

static void child_fds_close(struct fork_child *c)
{
	for (unsigned i = 0; i < CHILD_FDS; i++) {
		if (c->fds[i] >= 0)
			close(c->fds[i]);
		c->fds[i] = -1;
	}
}

static void child_refuse(struct fork_child *c, int result)
{
	c->result = result;
	strncpy(c->reason, heapd_error(), sizeof(c->reason) - 1);
	child_fds_close(c);
}

static void *session_at(const struct heapd_session *s, uint64_t at)
{
	return (char *)(uintptr_t)s + at;
}

static void pins_copy(struct heapd_session *to, const struct heapd_session *from)
{
	uint32_t n = HEAPD_READ_ONCE(from->npins);
	uint64_t *source = (uint64_t *)session_at(from, HEAPD_SESSION_PIN_AT);
	uint64_t *target = (uint64_t *)session_at(to, HEAPD_SESSION_PIN_AT);

	for (uint32_t i = 0; i < n && i < HEAPD_PIN_MAX; i++) {
		uint64_t word = HEAPD_LOAD_ACQUIRE(&source[i]);
		if (word)
			target[i] = word;
	}
	HEAPD_STORE_RELEASE(&to->npins, n);
}

/* The process's ranges and the forking thread's own; the other threads are not in the child. */
static void ranges_copy(struct heapd_session *to, const struct heapd_session *from, uint32_t thread)
{
	uint32_t n = from->nranges;

	for (uint32_t i = 0; i < n && i < HEAPD_RANGE_MAX; i++) {
		const struct heapd_range *r = range_at(from, i);
		if (r->start && (!r->thread || r->thread == 1 + thread))
			*range_at(to, i) = *r;
	}
	HEAPD_STORE_RELEASE(&to->nranges, n);
}

static void process_ranges_publish(const struct heapd_heap *heap, struct stack_words *out)
{
	for (uint32_t i = 0; i < heap->session->nranges && i < HEAPD_RANGE_MAX; i++) {
		const struct heapd_range *r = range_at(heap->session, i);
		if (r->start && !r->thread)
			stack_words_add(heap, out, r->start, r->start + r->bytes);
	}
}

/* What the child's thread holds, where the daemon looks for it until that thread answers for itself. */
static int words_publish(struct heapd_heap *heap, struct fork_child *c, const struct heapd_thread *self,
			 struct heapd_thread *record)
{
	uint64_t at = HEAPD_SESSION_PUBLISHED_AT + thread_index(heap, self) * HEAPD_PUBLISHED_BYTES;
	uint64_t *window = (uint64_t *)map_window(c->fds[CHILD_SESSION], at, HEAPD_PUBLISHED_BYTES);
	struct stack_words out = { .words = window, .room = HEAPD_PUBLISHED_BYTES / 8 };

	if (!window)
		return -errno;
	bool known = stack_words_add_own(heap, &out, self);
	process_ranges_publish(heap, &out);
	munmap(window, HEAPD_PUBLISHED_BYTES);
	HEAPD_WRITE_ONCE(record->published_count, out.count);
	HEAPD_STORE_RELEASE(&record->published_cycle, HEAPD_PUBLISHED_STANDING);
	if (!heap->t.directory->cycle.collecting)
		return 0;
	if (!known)
		return error_set(
			EINVAL,
			"heap '%s': fork() on a stack that heapd does not know leaves the child without the heap: tell of it with heapd_local_add()",
			heap->name);
	if (out.overflow)
		return error_set(
			E2BIG,
			"heap '%s': the forking thread holds more heap pointers than a child's session takes: fork() higher up the stack",
			heap->name);
	return 0;
}

/* The record of the one thread that the child has; the child itself brings it online. */
static void record_copy(struct heapd_thread *to, const struct heapd_thread *from)
{
	to->gate.on = HEAPD_GATE_UNSURE;
	to->gate.attached = 1;
	to->stack_low = from->stack_low;
	to->stack_high = from->stack_high;
	to->saved_sp = from->saved_sp;
	memcpy(to->saved_regs, from->saved_regs, sizeof(to->saved_regs));
	memcpy(to->edits, from->edits, sizeof(to->edits));
	HEAPD_STORE_RELEASE(&to->state, HEAPD_THREAD_CLAIMED);
}

static int session_fill(struct heapd_heap *heap, struct fork_child *c, const struct heapd_thread *self)
{
	struct heapd_session *to;
	uint32_t index = thread_index(heap, self);

	to = (struct heapd_session *)map_window(c->fds[CHILD_SESSION], 0, HEAPD_SESSION_CORE);
	if (!to)
		return -errno;
	struct heapd_thread *record = (struct heapd_thread *)session_at(to, HEAPD_SESSION_THREAD_AT) + index;
	to->signal = (uint32_t)heap->signal;
	pins_copy(to, heap->session);
	ranges_copy(to, heap->session, index);
	record_copy(record, self);
	HEAPD_STORE_RELEASE(&to->nthreads, index + 1);
	int r = words_publish(heap, c, self, record);
	munmap(to, HEAPD_SESSION_CORE);
	return r;
}

/*
 * The daemon makes the session. If it dies of that, or is away, its return is waited for, without request_lock, which the agent
 * needs; then the same request is sent once more, by whose number the next daemon finds the session that was made, if one was.
 */
static int child_ask(struct heapd_heap *heap, uint32_t thread, struct heapd_message *m, int *fds, size_t *n)
{
	uint64_t deadline = clock_deadline(heap->request_timeout_ns);
	struct heapd_message asked = { .op = HEAPD_OP_FORK };
	size_t room = *n;

	asked.room.least = thread + 1;

	for (;;) {
		uint32_t before = heap->seq;
		*m = asked;
		*n = room;
		int r = request_exchange(heap, m, fds, n);
		if (r != -EAGAIN || !atomic_load(&heap->away) || !reconnect_may_wait(heap))
			return r;
		if (heap->seq != before) { /* it went out, or some of it */
			asked.seq = heap->seq;
			asked.repeated = 1;
		}
		pthread_mutex_unlock(&heap->request_lock);
		bool back = reconnect_wait(heap, deadline);
		pthread_mutex_lock(&heap->request_lock);
		if (!back)
			return r;
	}
}

static int child_prepare(struct heapd_heap *heap, struct fork_child *c, const struct heapd_thread *self)
{
	struct heapd_message m;
	size_t n = CHILD_FDS;

	if (heap->options & HEAPD_ATTACH_FORK_DETACHED)
		return error_set(
			ENODEV,
			"heap '%s' was attached with HEAPD_ATTACH_FORK_DETACHED, so this child has none: attach it here",
			heap->name);
	if (!self)
		return -errno;
	int r = child_ask(heap, thread_index(heap, self), &m, c->fds, &n);
	if (r < 0)
		return r;
	if (n != CHILD_FDS)
		return error_set(
			EPROTO,
			"heap '%s': the daemon sent %zu descriptors for a child, not %d: use client library and daemon of one version",
			heap->name, n, CHILD_FDS);
	c->session_id = m.welcome.session;
	c->index = m.welcome.index;
	c->state = self->state;
	return session_fill(heap, c, self);
}

static void fork_prepare(void)
{
	int error = errno;

	attach_lock();
	struct heapd_heap *heap = heapd_process;
	if (heap) {
		struct heapd_thread *self = thread_self(heap);
		pthread_mutex_lock(&heap->lock);
		pthread_mutex_lock(&heap->request_lock);
		heap->child->result = 0;
		int r = child_prepare(heap, heap->child, self);
		if (r < 0)
			child_refuse(heap->child, r);
		watches_lock(heap);
	}
	errno = error;
}

static void locks_release(struct heapd_heap *heap)
{
	if (heap) {
		watches_unlock(heap);
		pthread_mutex_unlock(&heap->request_lock);
		pthread_mutex_unlock(&heap->lock);
	}
	attach_unlock();
}

static void fork_parent(void)
{
	int error = errno;
	struct heapd_heap *heap = heapd_process;

	if (heap)
		child_fds_close(heap->child);
	locks_release(heap);
	errno = error;
}

/* The child's own ends in the place of its parent's, which stay the parent's. */
static void ends_replace(struct heapd_heap *heap, struct fork_child *c)
{
	attach_hang_up(heap);
	answer_forked();
	agent_forget(heap);
	watches_forget(heap);
	heap->socket = c->fds[CHILD_SOCKET];
	heap->notify = c->fds[CHILD_NOTIFY];
	c->fds[CHILD_SOCKET] = c->fds[CHILD_NOTIFY] = -1;
	heap->session_id = c->session_id;
	heap->index = c->index;
	atomic_store(&heap->away, 0);
}

/* Says who it is; if the daemon has died since it made the session, to the next one, on a way of its own. */
static int child_hello(struct heapd_heap *heap)
{
	struct heapd_message m = { .op = HEAPD_OP_HELLO_CHILD };
	int r = request_exchange(heap, &m, NULL, NULL);

	if (r != -EAGAIN || !atomic_load(&heap->away))
		return r;
	return reconnect_here(heap, clock_deadline(heap->request_timeout_ns)) ? 0 : r;
}

static int child_attach(struct heapd_heap *heap, struct fork_child *c)
{
	int r = c->result;

	DELAY(1);
	ends_replace(heap, c);
	if (r >= 0)
		r = map_again(heap, c->fds[CHILD_SESSION]);
	attach_barriers_register();
	if (r >= 0)
		events_forked(heap);
	if (r >= 0)
		r = child_hello(heap);
	if (r >= 0)
		r = threads_forked(heap, c->state);
	if (r >= 0)
		r = agent_start(heap);
	if (r < 0 && c->result >= 0)
		child_refuse(c, r);
	child_fds_close(c);
	return r;
}

static void child_orphan(struct heapd_heap *heap)
{
	/* In this order: see heap_drop(). */
	map_orphan(heap);
	attach_hang_up(heap);
	atomic_store(&heap->away, AWAY_LOST);
	thread_abandon();
	heapd_process = NULL;
	fork_orphan = heap;
	fork_heap_missing(heap);
}

static void fork_in_child(void)
{
	int error = errno;
	struct heapd_heap *heap = heapd_process;

	if (heap && child_attach(heap, heap->child) < 0)
		child_orphan(heap);
	locks_release(heap);
	errno = error;
}

int fork_heap_missing(const struct heapd_heap *heap)
{
	if (!heap)
		return error_set(ENODEV, "no heap: attach one with heapd_attach(), and use what it returned");
	if (heap != fork_orphan)
		return error_set(
			ENODEV,
			"this heap is not attached, it was detached or never was: attach it, and use what heapd_attach() gave");
	return error_set(ENODEV, "this process is a child of fork() and has no heap: %s",
			 heap->child->reason);
}

void fork_orphan_drop(void)
{
	if (fork_orphan)
		map_drop(fork_orphan);
	fork_orphan = NULL;
}

/* NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): handlers are registered once for a process */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_registered;
/* NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables) */

static void fork_register(void)
{
	fork_registered = pthread_atfork(fork_prepare, fork_parent, fork_in_child);
}

int fork_init(struct heapd_heap *heap)
{
	pthread_once(&fork_once, fork_register);
	if (fork_registered)
		return error_set(fork_registered,
				 "cannot register fork() handlers: %s: free some of this process's memory",
				 strerror(fork_registered));
	heap->child = (struct fork_child *)calloc(1, sizeof(*heap->child));
	if (!heap->child)
		return error_set(ENOMEM,
				 "heap '%s': no memory for its attachment: free some of this process's own",
				 heap->name);
	for (unsigned i = 0; i < CHILD_FDS; i++)
		heap->child->fds[i] = -1;
	return 0;
}

void fork_free(struct heapd_heap *heap)
{
	free(heap->child);
	heap->child = NULL;
}
