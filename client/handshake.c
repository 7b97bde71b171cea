/* SPDX-License-Identifier: MIT */
/*
 * The agent's part in the scan, handshake 2: it sees to it that every thread of this process answers, and
 * answers itself for those that are offline and for the registered ranges.
 *
 * It looks at each record that was ever used. A thread that is online gets the handshake's signal; one that
 * was inside an operation when it came has not answered, and gets it again. So that signals to a thread
 * that does not take them do not pile up, a second one is sent only when the handler has run for the first,
 * or, seldom, when the kernel says that none is waiting. A record that shows as claimed after the phase was
 * read is coming up, and will read the phase itself, or going down, and holds nothing.
 *
 * What an answer took is counted from the thread's processor time before it was asked, which the agent writes before it sends. `seen`
 * (release) pairs with the agent's look at it: the handler has read that time by then, so the next is another answer's. After a signal
 * that is taken for lost a later one may be read: the answer counts for less by what ran in between.
 *
 * A signal that waits for a thread inside execve() would come to the next program, which has no handler, and end it. Ours says
 * that it is a timer's: those the kernel drops there, with the other threads gone that could send one more.
 *
 * A thread that is offline is scanned in the state SCANNING: swapped from OFFLINE and back by the agent
 * alone; who comes back online, or ends, waits until it is over (offline.c, thread.c), so the stack and
 * the local ranges that the agent reads stay what they are.
 *
 * Locks. The registered ranges are read under heap->lock, or they could end, and be freed memory, while
 * they are read. It is only tried for: whoever has it, a fork included, which holds it for long and needs
 * no agent meanwhile, is not waited for; the next look tries again.
 */
#include "handshake.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "clock.h"
#include "heapd/delay.h"
#include "heapd/mutant.h"
#include "range.h"
#include "report.h"
#include "thread.h"

#define PAUSE_FIRST_NS   200000ull /* its end interrupts who answers there just then */
#define PAUSE_LONGEST_NS (1 * CLOCK_MS)
#define PAUSE_IDLE_NS    (10 * CLOCK_MS)  /* after a second */
#define LOOK_AFTER_NS    (100 * CLOCK_MS) /* without an answer: look why */
#define BLOCKED_LOOKS \
	5u /* that find the signal blocked before that is told: posix_spawn() blocks all for a while */

struct asked {
	_Atomic uint32_t seen; /* the handler's: signals that have arrived */
	uint64_t alternate;    /* the handler's: the thread's alternate stack, as the signal found it, ... */
	uint64_t alternate_bytes; /* ... or 0 */
	uint32_t seen_before;     /* when the last was sent */
	uint32_t tid;             /* to whom; 0: to nobody that has not seen it */
	uint32_t told;            /* the thread whose blocking was reported */
	uint32_t blocked;         /* looks in a row that found it blocked */
	uint64_t sent_ns;
	uint64_t cpu_ns; /* the agent's: the thread's processor time before it was asked */
};

int handshake_init(struct heapd_heap *heap)
{
	heap->asked = (struct asked *)calloc(HEAPD_THREAD_MAX, sizeof(*heap->asked));
	return heap->asked
		       ? 0
		       : error_set(ENOMEM,
				   "heap '%s': no memory for its attachment: free some of this process's own",
				   heap->name);
}

void handshake_free(struct heapd_heap *heap)
{
	free(heap->asked);
	heap->asked = NULL;
}

uint64_t handshake_signal_seen(struct heapd_heap *heap, uint32_t index, const stack_t *alternate)
{
	struct asked *asked = &heap->asked[index];
	bool there = !(alternate->ss_flags & SS_DISABLE);
	uint64_t cpu = HEAPD_READ_ONCE(asked->cpu_ns); /* before `seen`: then it may be asked again */

	HEAPD_WRITE_ONCE(asked->alternate, (uint64_t)(uintptr_t)alternate->ss_sp);
	HEAPD_WRITE_ONCE(asked->alternate_bytes, there ? alternate->ss_size : 0);
	atomic_fetch_add_explicit(&asked->seen, 1, memory_order_release);
	return cpu;
}

bool handshake_on_alternate(const struct heapd_heap *heap, uint32_t index, uint64_t at)
{
	const struct asked *asked = &heap->asked[index];

	return at - HEAPD_READ_ONCE(asked->alternate) < HEAPD_READ_ONCE(asked->alternate_bytes);
}

/* The line of the thread's status that begins with this name: signals as a mask; 0: it cannot be had. */
static uint64_t status_signals(const char *status, const char *name)
{
	const char *line = strstr(status, name);

	return line ? strtoull(line + strlen(name), NULL, 16) : 0;
}

static void status_read(uint32_t tid, char *text, size_t size)
{
	char path[64];
	ssize_t n = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%u/status", tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, size - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = 0;
}

static void blocked_report(struct heapd_heap *heap, struct asked *asked, uint32_t tid)
{
	HEAPD_WRITE_ONCE(heap->session->blocked_tid, tid);
	if (asked->told == tid)
		return;
	if (report_leave(
		    heap, HEAPD_REPORT_SIGNAL,
		    "heap '%s': thread %u blocks signal %d, which heapd asks it by what it holds: it holds up each collection until its next call; unblock the signal, or go offline meanwhile",
		    heap->name, tid, heap->signal))
		asked->told = tid;
}

/* A signal that has not arrived for long: true if another is to be sent. */
static bool signal_lost(struct heapd_heap *heap, struct asked *asked, uint32_t tid)
{
	uint64_t bit = 1ull << (heap->signal - 1);
	char status[4096];

	asked->sent_ns = clock_now();
	status_read(tid, status, sizeof(status));
	asked->blocked = status_signals(status, "\nSigBlk:") & bit ? asked->blocked + 1 : 0;
	if (asked->blocked >= BLOCKED_LOOKS)
		blocked_report(heap, asked, tid);
	return !(status_signals(status, "\nSigPnd:") & bit);
}

static bool signal_wanted(struct heapd_heap *heap, struct asked *asked, uint32_t tid)
{
	if (asked->tid != tid || asked->seen_before != atomic_load(&asked->seen))
		return true;
	return clock_now() - asked->sent_ns >= LOOK_AFTER_NS && signal_lost(heap, asked, tid);
}

int handshake_signal_send(const struct heapd_heap *heap, uint32_t tid)
{
	siginfo_t info = { .si_code = SI_TIMER };

	info.si_value.sival_ptr = (void *)(uintptr_t)heap;
	return (int)syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, heap->signal, &info);
}

bool handshake_signal_ours(const struct heapd_heap *heap, const siginfo_t *info)
{
	return info->si_code == SI_TIMER && info->si_value.sival_ptr == heap;
}

static void thread_ask(struct heapd_heap *heap, uint32_t index, uint32_t cycle)
{
	struct heapd_thread *thread = &heap->threads[index];
	struct asked *asked = &heap->asked[index];
	uint32_t tid = HEAPD_READ_ONCE(thread->tid), seen = atomic_load(&asked->seen);

	if (!signal_wanted(heap, asked, tid))
		return;
	HEAPD_WRITE_ONCE(asked->cpu_ns, clock_thread(tid));
	if (handshake_signal_send(heap, tid) == 0) {
		if (asked->tid != tid || asked->seen_before != seen)
			asked->sent_ns = clock_now();
		asked->seen_before = seen;
		asked->tid = tid;
	} else if (errno == ESRCH) {
		/* It ended without a word, and holds nothing. */
		HEAPD_STORE_RELEASE(&thread->scanned, cycle);
	}
}

static void thread_answer(struct heapd_heap *heap, struct heapd_thread *thread, uint32_t cycle)
{
	uint64_t saved = (uint64_t)(uintptr_t)thread->saved_regs;
	struct answer a;

	if (!answer_begin(&a, heap, thread, cycle))
		return;
	if (MUTANT(offline_unscanned)) {
		answer_end(&a);
		return;
	}
	stack_words_add(heap, &a.out, saved, saved + sizeof(thread->saved_regs));
	if (stack_words_add_thread(heap, &a.out, thread, thread->saved_sp, 0, NULL))
		answer_end(&a);
	else
		atomic_store(&heap->stray, thread->tid);
}

static void thread_answer_offline(struct heapd_heap *heap, struct heapd_thread *thread, uint32_t cycle)
{
	uint32_t state = HEAPD_THREAD_OFFLINE;

	/* Acquire pairs with the thread's release of the state: what it saved is there. */
	if (!__atomic_compare_exchange_n(&thread->state, &state, HEAPD_THREAD_SCANNING, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	thread_answer(heap, thread, cycle);
	HEAPD_STORE_RELEASE(&thread->state, HEAPD_THREAD_OFFLINE);
}

/* Whether nothing is to be waited for there. */
static bool thread_serve(struct heapd_heap *heap, const struct handshake *h, uint32_t index)
{
	struct heapd_thread *thread = &heap->threads[index];
	uint32_t state = HEAPD_LOAD_ACQUIRE(&thread->state);

	if (state == HEAPD_THREAD_FREE || HEAPD_LOAD_ACQUIRE(&thread->scanned) == h->cycle)
		return true;
	if (state == HEAPD_THREAD_OFFLINE)
		thread_answer_offline(heap, thread, h->cycle);
	else if (state == HEAPD_THREAD_ONLINE && !h->handler_lost)
		thread_ask(heap, index, h->cycle);
	return HEAPD_LOAD_ACQUIRE(&thread->scanned) == h->cycle;
}

static bool ranges_publish(struct heapd_heap *heap, uint32_t cycle)
{
	struct stack_words out = { .room = HEAPD_RANGES_BYTES / 8 };

	if (heap->session->ranges_cycle == cycle)
		return true;
	if (pthread_mutex_trylock(&heap->lock))
		return false;
	out.words = (uint64_t *)(void *)((char *)heap->session + HEAPD_SESSION_RANGES_AT);
	for (uint32_t i = 0; i < heap->session->nranges && i < HEAPD_RANGE_MAX; i++) {
		const struct heapd_range *r = range_at(heap->session, i);
		if (r->start && !r->thread)
			stack_words_add(heap, &out, r->start, r->start + r->bytes);
	}
	pthread_mutex_unlock(&heap->lock);
	HEAPD_WRITE_ONCE(heap->session->ranges_count, out.overflow ? HEAPD_PUBLISHED_OVERFLOW : out.count);
	HEAPD_STORE_RELEASE(&heap->session->ranges_cycle, cycle);
	return true;
}

static void stray_report(struct heapd_heap *heap)
{
	uint32_t tid = atomic_load(&heap->stray);

	if (tid && !heap->stray_reported)
		heap->stray_reported = report_leave(
			heap, HEAPD_REPORT_SIGNAL,
			"heap '%s': thread %u runs on a stack that heapd does not know, and holds up each collection meanwhile: tell heapd of that stack with heapd_local_add()",
			heap->name, tid);
}

/* Somebody else's handler is left where it is, and alone. */
static void handler_look(struct heapd_heap *heap, struct handshake *h)
{
	h->handler_lost = !answer_handler_stands(heap);
	if (h->handler_lost && !heap->handler_reported)
		heap->handler_reported = report_leave(
			heap, HEAPD_REPORT_SIGNAL,
			"heap '%s': the handler of signal %d, by which heapd asks threads what they hold, was replaced: threads answer at their next call only, and may hold up each collection; give heapd a signal of its own (options.signal)",
			heap->name, heap->signal);
}

static void handshake_begin(struct heapd_heap *heap, struct handshake *h, uint32_t cycle)
{
	*h = (struct handshake){ .cycle = cycle, .begin_ns = clock_now(), .pause_ns = PAUSE_FIRST_NS / 2 };
	handler_look(heap, h);
}

static uint64_t pause_next(struct handshake *h)
{
	if (clock_now() - h->begin_ns > 1000 * CLOCK_MS)
		return PAUSE_IDLE_NS;
	h->pause_ns = h->pause_ns * 2 < PAUSE_LONGEST_NS ? h->pause_ns * 2 : PAUSE_LONGEST_NS;
	return h->pause_ns;
}

uint64_t handshake_serve(struct heapd_heap *heap, struct handshake *h)
{
	uint64_t now = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now);
	uint32_t cycle = heapd_now_cycle(now);

	if (heapd_now_phase(now) != HEAPD_PHASE_SCAN)
		return 0;
	if (h->cycle != cycle)
		handshake_begin(heap, h, cycle);
	bool all = ranges_publish(heap, cycle);
	DELAY(2);
	uint32_t n = HEAPD_LOAD_ACQUIRE(&heap->session->nthreads);
	for (uint32_t i = 0; i < n && i < HEAPD_THREAD_MAX; i++)
		all &= thread_serve(heap, h, i);
	stray_report(heap);
	if (all)
		HEAPD_WRITE_ONCE(heap->session->blocked_tid, 0);
	return all ? 0 : pause_next(h);
}
