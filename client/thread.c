/* SPDX-License-Identifier: MIT */
/*
 * The threads of this process in its session: claiming a record, coming up, and giving the record back
 * when the thread ends. Going offline is offline.c's.
 *
 * A record belongs to the thread that claimed it; who claims and frees holds heap->lock, so the
 * daemon sees whole steps only: FREE, CLAIMED (ours, and being set up), ONLINE or OFFLINE. What stands
 * in a record for the daemon to fetch (what was handed back, the barrier ring) outlives its thread:
 * the next one that claims the record goes on from there.
 *
 * Coming up, a thread registers, executes a full fence, then reads the phase (phase.h). Between its
 * reading "idle" and its switching the barrier off, the daemon may switch the barrier on: so the
 * switch is a compare-and-swap from a value of its own, HEAPD_GATE_UNSURE, which the daemon's store
 * replaces. To the barrier, any value but 0 is "on".
 *
 * A thread that comes up holds nothing, so from the scan on it has nothing to answer, and says so; what the
 * thread before it published stays. But for a forked child's: that one holds what it was born with, which is
 * what its parent published. In a scan these words are its answer: it has done nothing with the heap since, and
 * they must not be touched, since the daemon, which does not wait for who comes in the midst of a scan, may be
 * reading them. They stand until a cycle is to come that will ask the child itself: whoever comes up then ends
 * them, or the daemon, with its next handshake 1.
 *
 * Until its first call a thread's gate is one of nobody's, always on: its first store attaches it. The same
 * gate stands for a thread that is offline (offline.c).
 */
#include "thread.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "attach.h"
#include "barrier.h"
#include "fork.h"
#include "gate.h"
#include "handshake.h"
#include "heapd/delay.h"
#include "map.h"
#include "range.h"
#include "room.h"

/* NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): thread-locals, see client.h */
static struct heapd_gate_ gate_of_nobody = { .on = 1 };
static const char nowhere;

__thread struct heapd_thread *heapd_record;
__thread struct heapd_thread *heapd_self;
__thread const void *heapd_here = &nowhere;
__thread struct heapd_gate_ *heapd_gate_ = &gate_of_nobody;
/* NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables) */

_Static_assert(sizeof(struct heapd_gate_) == sizeof(struct heapd_thread_gate) &&
		       offsetof(struct heapd_gate_, inside) == offsetof(struct heapd_thread_gate, inside),
	       "heapd.h and session.h have one gate");

/* NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): a key's destructor is how a thread's end is noticed */
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static int exit_key_error;
/* NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables) */

static bool bit_test(const uint64_t *words, uint32_t i)
{
	return words[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *words, uint32_t i)
{
	words[i / 64] |= 1ull << (i % 64);
}

static void bit_clear(uint64_t *words, uint32_t i)
{
	words[i / 64] &= ~(1ull << (i % 64));
}

/* The lowest record that nobody has; HEAPD_THREAD_MAX: there is none. */
static uint32_t record_find(const struct heapd_heap *heap)
{
	for (uint32_t i = 0; i < HEAPD_THREAD_MAX / 64; i++)
		if (heap->threads_claimed[i] != UINT64_MAX)
			return i * 64 + (uint32_t)__builtin_ctzll(~heap->threads_claimed[i]);
	return HEAPD_THREAD_MAX;
}

static int record_take(struct heapd_heap *heap, uint32_t index)
{
	if (index == HEAPD_THREAD_MAX)
		return error_set(
			ENOSPC,
			"heap '%s': this process has %u attached threads already: end or heapd_thread_detach() some",
			heap->name, HEAPD_THREAD_MAX);
	int r = bit_test(heap->threads_mapped, index) ? 0 : map_thread(heap, index);
	if (r < 0)
		return r;
	bit_set(heap->threads_mapped, index);
	bit_set(heap->threads_claimed, index);
	HEAPD_STORE_RELEASE(&heap->threads[index].state, HEAPD_THREAD_CLAIMED);
	if (heap->session->nthreads <= index)
		HEAPD_STORE_RELEASE(&heap->session->nthreads, index + 1);
	return (int)index;
}

/* The number of a record that is the caller's now, or -errno. Others may take what was asked for, so it is asked again. */
static int record_claim(struct heapd_heap *heap)
{
	for (;;) {
		pthread_mutex_lock(&heap->lock);
		uint32_t index = record_find(heap);
		bool ready = index == HEAPD_THREAD_MAX || index < room_of(heap, HEAPD_ROOM_THREADS);
		int r = ready ? record_take(heap, index) : 0;
		pthread_mutex_unlock(&heap->lock);
		if (ready)
			return r;
		r = room_ask(heap, HEAPD_ROOM_THREADS, index + 1);
		if (r < 0)
			return r;
	}
}

/*
 * Online or offline no more. The agent, which may be reading the thread's stack just now, is waited for:
 * the stack may be gone soon.
 */
static void record_retire(struct heapd_thread *thread)
{
	uint32_t state = HEAPD_LOAD_ACQUIRE(&thread->state);

	while (state == HEAPD_THREAD_SCANNING ||
	       !__atomic_compare_exchange_n(&thread->state, &state, HEAPD_THREAD_CLAIMED, false,
					    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		sched_yield();
		state = HEAPD_LOAD_ACQUIRE(&thread->state);
	}
}

static void record_free(struct heapd_heap *heap, uint32_t index)
{
	pthread_mutex_lock(&heap->lock);
	heap->thread_words[index] = (struct thread_words){ 0 };
	ranges_end(heap, index);
	HEAPD_STORE_RELEASE(&heap->threads[index].state, HEAPD_THREAD_FREE);
	bit_clear(heap->threads_claimed, index);
	pthread_mutex_unlock(&heap->lock);
}

static void stack_bounds(struct heapd_thread *self)
{
	pthread_attr_t attr;
	void *low = NULL;
	size_t bytes = 0;

	if (pthread_getattr_np(pthread_self(), &attr))
		return;
	pthread_attr_getstack(&attr, &low, &bytes);
	pthread_attr_destroy(&attr);
	self->stack_low = (uint64_t)(uintptr_t)low;
	self->stack_high = self->stack_low + bytes;
}

/*
 * What the record says of the thread before this one. What the daemon has yet to fetch or read stays, and so do the
 * counts: they are the process's.
 */
static void record_reset(struct heapd_thread *self)
{
	HEAPD_WRITE_ONCE(self->scanned, 0); /* the agent reads it of claimed records, too */
	self->stack_low = self->stack_high = self->saved_sp = 0;
	memset(self->saved_regs, 0, sizeof(self->saved_regs));
	barrier_forget(self);
	memset(self->edits, 0, sizeof(self->edits));
}

void thread_words_online(const struct heapd_heap *heap, struct heapd_thread *self)
{
	heapd_self = self;
	heapd_here = heap;
	heapd_gate_ = (struct heapd_gate_ *)(void *)&self->gate;
}

void thread_words_offline(void)
{
	heapd_self = NULL;
	heapd_here = &nowhere;
	heapd_gate_ = &gate_of_nobody;
}

/* What the phase asks of a thread that has just shown itself; inside the gate. */
static void phase_obey(struct heapd_thread *self, uint64_t now)
{
	enum heapd_phase phase = heapd_now_phase(now);
	uint32_t standing = HEAPD_PUBLISHED_STANDING;

	if (phase == HEAPD_PHASE_MARK || phase == HEAPD_PHASE_SCAN)
		HEAPD_STORE_RELEASE(&self->scanned, heapd_now_cycle(now));
	else
		__atomic_compare_exchange_n(&self->published_cycle, &standing, 0, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_RELAXED);
}

/*
 * The state becomes visible, then the phase is read: the daemon sees one, or this thread the other. All of it
 * stands in the gate, so that no handler answers for a thread that has nothing to say yet.
 */
static void record_show(struct heapd_heap *heap, struct heapd_thread *self, uint32_t state)
{
	uint32_t unsure = HEAPD_GATE_UNSURE;

	gate_enter(self);
	HEAPD_WRITE_ONCE(self->gate.on, HEAPD_GATE_UNSURE);
	HEAPD_STORE_RELEASE(&self->state, state);
	HEAPD_FENCE();
	uint64_t now = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now);
	DELAY(4);
	__atomic_compare_exchange_n(&self->gate.on, &unsure,
				    heapd_now_barrier(now) ? heapd_now_cycle(now) : 0, false,
				    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	phase_obey(self, now);
	gate_leave(self);
	if (state == HEAPD_THREAD_ONLINE)
		thread_words_online(heap, self);
}

static struct thread_words words_here(void)
{
	return (struct thread_words){ &heapd_record, &heapd_self, &heapd_here, &heapd_gate_ };
}

static void record_set(struct heapd_heap *heap, struct heapd_thread *self)
{
	heapd_record = self;
	pthread_mutex_lock(&heap->lock);
	heap->thread_words[thread_index(heap, self)] = words_here();
	pthread_mutex_unlock(&heap->lock);
}

/* Makes record `index`, claimed already, the calling thread's. */
static struct heapd_thread *thread_come_up(struct heapd_heap *heap, uint32_t index, uint32_t state)
{
	struct heapd_thread *self = &heap->threads[index];

	if (pthread_setspecific(exit_key, self))
		return error_null(ENOMEM,
				  "heap '%s': no memory to attach a thread: free some of this process's own",
				  heap->name);
	record_reset(self);
	/* The agent may still ask who had this record before: then its signal finds a thread that it has nothing to ask. */
	HEAPD_WRITE_ONCE(self->tid, (uint32_t)gettid());
	stack_bounds(self);
	/* Away from the start, it holds nothing: all of its stack is below the saved pointer. */
	self->saved_sp = self->stack_high;
	self->gate.attached = 1;
	answer_thread_init(heap, index);
	record_set(heap, self);
	record_show(heap, self, state);
	return self;
}

struct heapd_thread *thread_self(struct heapd_heap *heap)
{
	if (likely(heapd_self && heap == heapd_process))
		return heapd_self;
	if (!heap || heap != heapd_process) {
		fork_heap_missing(heap);
		return NULL;
	}
	if (heapd_record)
		return heapd_record;
	int index = record_claim(heap);
	if (index < 0)
		return NULL;
	bool away = heap->options & HEAPD_ATTACH_THREADS_AWAY;
	struct heapd_thread *self =
		thread_come_up(heap, (uint32_t)index, away ? HEAPD_THREAD_OFFLINE : HEAPD_THREAD_ONLINE);
	if (!self)
		record_free(heap, (uint32_t)index);
	return self;
}

void thread_abandon(void)
{
	heapd_record = NULL;
	thread_words_offline();
}

/* The calling thread holds nothing any more. */
static void thread_release(struct heapd_heap *heap, struct heapd_thread *self)
{
	record_retire(self);
	thread_spares_return(heap, self);
	thread_abandon();
	self->gate.attached = 0;
	record_free(heap, thread_index(heap, self));
}

/* Runs as the thread ends; a destructor that runs later and calls heapd attaches it once more. */
static void thread_exit(void *unused)
{
	(void)unused;
	attach_lock();
	if (heapd_process && heapd_record)
		thread_release(heapd_process, heapd_record);
	attach_unlock();
}

static void exit_key_make(void)
{
	exit_key_error = pthread_key_create(&exit_key, thread_exit);
}

int threads_init(struct heapd_heap *heap)
{
	pthread_once(&exit_once, exit_key_make);
	if (exit_key_error)
		return error_set(exit_key_error,
				 "no thread key is left in this process (pthread_key_create: %s): delete one",
				 strerror(exit_key_error));
	heap->thread_words = (struct thread_words *)calloc(HEAPD_THREAD_MAX, sizeof(*heap->thread_words));
	if (!heap->thread_words)
		return error_set(ENOMEM,
				 "heap '%s': no memory for its attachment: free some of this process's own",
				 heap->name);
	return handshake_init(heap);
}

void threads_free(struct heapd_heap *heap)
{
	free(heap->thread_words);
	heap->thread_words = NULL;
	handshake_free(heap);
}

void threads_leave(struct heapd_heap *heap)
{
	pthread_mutex_lock(&heap->lock);
	for (uint32_t i = 0; i < HEAPD_THREAD_MAX; i++) {
		struct thread_words *w = &heap->thread_words[i];
		if (!w->self)
			continue;
		record_retire(&heap->threads[i]);
		thread_spares_return(heap, &heap->threads[i]);
		HEAPD_WRITE_ONCE(*w->record, NULL);
		*w->self = NULL;
		*w->here = &nowhere;
		*w->gate = &gate_of_nobody;
		*w = (struct thread_words){ 0 };
		HEAPD_STORE_RELEASE(&heap->threads[i].state, HEAPD_THREAD_FREE);
	}
	pthread_mutex_unlock(&heap->lock);
	answer_wait_handlers();
}

int threads_forked(struct heapd_heap *heap, uint32_t state)
{
	struct heapd_thread *self = heapd_record;
	uint32_t index = thread_index(heap, self);

	int r = map_thread(heap, index);

	if (r < 0)
		return r;
	memset(heap->threads_claimed, 0, sizeof(heap->threads_claimed));
	memset(heap->threads_mapped, 0, sizeof(heap->threads_mapped));
	memset(heap->thread_words, 0, HEAPD_THREAD_MAX * sizeof(*heap->thread_words));
	bit_set(heap->threads_claimed, index);
	bit_set(heap->threads_mapped, index);
	heap->thread_words[index] = words_here();
	/* The agent may still ask who had this record before: then its signal finds a thread that it has nothing to ask. */
	HEAPD_WRITE_ONCE(self->tid, (uint32_t)gettid());
	record_show(heap, self, state);
	return 0;
}

int heapd_thread_attach(heapd_heap *heap)
{
	if (!thread_self(heap))
		return -errno;
	answer_poll(heap);
	return 0;
}

int heapd_thread_detach(heapd_heap *heap)
{
	if (!heap || heap != heapd_process)
		return fork_heap_missing(heap);
	struct heapd_thread *self = heapd_record;
	if (!self)
		return 0;
	for (unsigned i = 0; i < HEAPD_EDIT_COUNT; i++)
		if (self->edits[i].bytes)
			return error_set(EBUSY,
					 "heapd_thread_detach: an edit is open: call heapd_edit_end() first");
	pthread_setspecific(exit_key, NULL);
	thread_release(heap, self);
	return 0;
}

struct thread_start {
	heapd_heap *heap;
	void *(*start)(void *);
	void **pin; /* holds the argument */
	uint32_t index;
};

/* Online whatever the options say: it holds its argument. */
static void *thread_begin(void *arg)
{
	struct thread_start begin = *(struct thread_start *)arg;
	void *value;

	free(arg);
	if (!thread_come_up(begin.heap, begin.index, HEAPD_THREAD_ONLINE))
		record_free(begin.heap, begin.index);
	value = heapd_load(begin.pin);
	heapd_unpin(begin.pin);
	return begin.start(value);
}

/* Record and pin are had before there is a thread, so that whoever creates it hears what failed. */
int heapd_thread_create_sym(heapd_heap *heap, void *thread, const void *attr, void *(*start)(void *),
			    void *arg)
{
	struct thread_start *begin;
	int index, r;

	if (!thread_self(heap))
		return -errno;
	begin = (struct thread_start *)malloc(sizeof(*begin));
	if (!begin)
		return error_set(ENOMEM, "heapd_thread_create: no memory: free some of this process's own");
	*begin = (struct thread_start){ .heap = heap, .start = start };
	index = record_claim(heap);
	if (index < 0) {
		r = index;
		goto free_begin;
	}
	begin->index = (uint32_t)index;
	begin->pin = (void **)heapd_pin_sym(heap, arg);
	if (!begin->pin) {
		r = -errno;
		goto free_record;
	}
	r = pthread_create((pthread_t *)thread, (const pthread_attr_t *)attr, thread_begin, begin);
	if (!r)
		return 0;
	r = error_set(
		r,
		"heapd_thread_create: cannot create a thread: %s: allow one more (RLIMIT_NPROC, pids.max), or give other attributes",
		strerror(r));
	heapd_unpin(begin->pin);
free_record:
	record_free(heap, begin->index);
free_begin:
	free(begin);
	return r;
}
