/* SPDX-License-Identifier: MIT */
/*
 * A thread's answer to the scan, handshake 2: the words of its registers and its stack that point into the
 * heap, in its published area of the session; then their count and the cycle, then `scanned` (release,
 * pairs with the daemon's acquire).
 *
 * Who answers. The thread itself, in the signal's handler, at a safepoint, or as it comes back online in
 * the midst of a scan; or the agent, while the thread is offline (handshake.c). Never two at a time: the
 * handler stays away while the thread is inside an operation, and every answer of the thread's own outside
 * the handler is given from inside the gate; the agent answers in the state SCANNING, which a thread that
 * comes back waits for.
 *
 * An answer is given once. What was published for this cycle already, by this thread or by the one that
 * had the record before it, stands: a thread that came up after that has nothing to publish.
 *
 * The handler scans what was interrupted, not itself: the stack from its pointer on, and the general and
 * vector registers in the signal's frame. A restartable sequence that was under way has been aborted by
 * then, so a slot is either still in its slab or in a register that is in the frame. The handler is
 * async-signal-safe, and no other handler of the program's runs on top of it. It uses the attachment
 * between adding itself to `answering` and taking itself away (full fences), and finds it by heapd_record:
 * detach clears that in all threads, executes a full fence, and waits for the count to fall to 0.
 */
#include "answer.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "clock.h"
#include "gate.h"
#include "handshake.h"
#include "heapd/mutant.h"
#include "heapd/probes.h"
#include "report.h"
#include "thread.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PREPARED_BYTES (32ul << 10) /* of the published area, so that no ordinary answer waits for a page */
#define ASKED_BYTES    2048u        /* of it that most answers write to */
#define PAUSE_SHORT_NS 5000u        /* up to here time is near enough to processor time */

#define scanning __attribute__((no_sanitize("address", "thread", "undefined")))

/* NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): outlives every attachment, as the handler does */
static _Atomic uint32_t answering; /* handlers that may be using the attachment */

static char *published_area(const struct heapd_heap *heap, uint64_t index)
{
	return (char *)heap->session + HEAPD_SESSION_PUBLISHED_AT + index * HEAPD_PUBLISHED_BYTES;
}

/* When an answer began: the thread's own processor time, or an earlier one of it, and time. */
struct pause {
	uint64_t cpu, wall;
};

/*
 * No more than the processor time that it took, nor than the time. The clock of the former is a system call, as long as all
 * of an answer, so it is read only of one that may have been interrupted, and its beginning by whoever asked, if somebody did.
 * The lesser of the two: in a virtual machine the kernel charges the time that it was not running to a thread first, and
 * takes it back later, or the other way round: processor time can jump by more than has passed.
 */
static uint64_t pause_length(struct pause begin)
{
	uint64_t wall = clock_now() - begin.wall, cpu;

	if (wall < PAUSE_SHORT_NS)
		return wall;
	cpu = clock_thread(0) - begin.cpu;
	return cpu < wall ? cpu : wall;
}

/* Before `scanned` says that the thread has answered: then the daemon looks at it. */
static void pause_count(const struct heapd_heap *heap, struct heapd_thread *self, struct pause begin,
			uint32_t cycle)
{
	uint64_t ns = pause_length(begin);

	HEAPD_WRITE_ONCE(self->pause_last_ns, ns);
	HEAPD_WRITE_ONCE(self->pause_cycle, cycle);
	HEAPD_COUNT(self->pauses, 1);
	HEAPD_COUNT(self->pause_ns, ns);
	if (ns > self->pause_max_ns)
		HEAPD_WRITE_ONCE(self->pause_max_ns, ns);
	HEAPD_PROBE(pause, heap->name, cycle, ns);
}

/* The daemon has read the area since this thread wrote to it: what it writes to now comes while it reads. */
static void published_ask(const uint64_t *words)
{
	for (unsigned at = 0; at < ASKED_BYTES; at += 64)
		__builtin_prefetch((const char *)words + at, 1);
}

bool answer_begin(struct answer *a, struct heapd_heap *heap, struct heapd_thread *thread, uint32_t cycle)
{
	if (HEAPD_READ_ONCE(thread->scanned) == cycle)
		return false;
	if (HEAPD_READ_ONCE(thread->published_cycle) == cycle) {
		HEAPD_STORE_RELEASE(&thread->scanned, cycle);
		return false;
	}
	*a = (struct answer){ .heap = heap, .thread = thread, .cycle = cycle };
	a->out.words = (uint64_t *)(void *)published_area(heap, thread_index(heap, thread));
	a->out.room = HEAPD_PUBLISHED_BYTES / 8;
	published_ask(a->out.words);
	return true;
}

void answer_end(const struct answer *a)
{
	HEAPD_WRITE_ONCE(a->thread->published_count,
			 a->out.overflow ? HEAPD_PUBLISHED_OVERFLOW : a->out.count);
	HEAPD_STORE_RELEASE(&a->thread->published_cycle, a->cycle);
	HEAPD_STORE_RELEASE(&a->thread->scanned, a->cycle);
}

/* Not all that the thread holds could be found: it has not answered, and the agent says why. */
static void answer_give_up(const struct answer *a)
{
	atomic_store_explicit(&a->heap->stray, a->thread->tid, memory_order_relaxed);
}

void answer_here(struct heapd_heap *heap, struct heapd_thread *self)
{
	uint64_t now = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now);
	struct pause begin;
	struct answer a;

	if (heapd_now_phase(now) != HEAPD_PHASE_SCAN)
		return;
	begin.cpu = clock_thread(0);
	begin.wall = clock_now();
	if (!answer_begin(&a, heap, self, heapd_now_cycle(now)))
		return;
	bool found = stack_words_add_own(heap, &a.out, self);
	pause_count(heap, self, begin, a.cycle);
	if (found)
		answer_end(&a);
	else
		answer_give_up(&a);
}

void answer_safepoint(struct heapd_heap *heap)
{
	struct heapd_thread *self = heapd_self;

	if (self && !(HEAPD_READ_ONCE(self->gate.inside) & 1)) {
		gate_enter(self);
		answer_here(heap, self);
		gate_leave(self);
	}
	if (atomic_load(&heap->reports_waiting))
		report_left_send(heap);
}

#if defined(__x86_64__)
/* In the signal's frame: 512 bytes, or, where they say so, all of the processor's extended state. */
static scanning uint64_t vector_bytes(const struct _libc_fpstate *state)
{
	uint32_t said[2]; /* FP_XSTATE_MAGIC1, and how many bytes there are */

	memcpy(said, (const char *)state + 464, sizeof(said));
	return said[0] == 0x46505853u ? said[1] : sizeof(*state);
}

/* The registers of what was interrupted; its stack pointer. */
static uint64_t registers_add(struct answer *a, const ucontext_t *c)
{
	uint64_t at = (uint64_t)(uintptr_t)c->uc_mcontext.gregs;

	if (!MUTANT(no_registers))
		stack_words_add(a->heap, &a->out, at, at + sizeof(c->uc_mcontext.gregs));
	at = (uint64_t)(uintptr_t)c->uc_mcontext.fpregs;
	if (at)
		stack_words_add(a->heap, &a->out, at, at + vector_bytes(c->uc_mcontext.fpregs));
	return (uint64_t)c->uc_mcontext.gregs[REG_RSP];
}
#elif defined(__aarch64__)
/* The frame is one block: general registers, then the records of the others. */
static uint64_t registers_add(struct answer *a, const ucontext_t *c)
{
	uint64_t at = (uint64_t)(uintptr_t)&c->uc_mcontext;

	stack_words_add(a->heap, &a->out, at, at + sizeof(c->uc_mcontext));
	return c->uc_mcontext.sp;
}
#else
#error "heapd does not know this processor's signal frame"
#endif

/*
 * ThreadSanitizer keeps signals back and calls the handler later, from one of its own functions: what the
 * context says has passed, and the thread's present frames are this one's callers.
 */
static uint64_t interrupted_at(uint64_t sp)
{
#ifdef HEAPD_TSAN
	uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);

	return here < sp ? here : sp;
#else
	return sp;
#endif
}

static void answer_interrupted(struct heapd_heap *heap, struct heapd_thread *self, const ucontext_t *c,
			       struct pause begin)
{
	uint64_t now = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now);
	struct answer a;

	if (HEAPD_READ_ONCE(self->state) != HEAPD_THREAD_ONLINE || HEAPD_READ_ONCE(self->gate.inside) & 1 ||
	    heapd_now_phase(now) != HEAPD_PHASE_SCAN || !answer_begin(&a, heap, self, heapd_now_cycle(now)))
		return;
	uint64_t sp = interrupted_at(registers_add(&a, c));
	bool found = stack_words_add_thread(heap, &a.out, self, sp, STACK_RED_ZONE, &c->uc_stack);
	pause_count(heap, self, begin, a.cycle);
	if (found)
		answer_end(&a);
	else
		answer_give_up(&a);
}

static void answer_handler(int number, siginfo_t *info, void *context)
{
	struct pause begin = { .wall = clock_now() };
	struct heapd_heap *heap;
	struct heapd_thread *self;
	int error = errno;

	(void)number;
	atomic_fetch_add(&answering, 1);
	heap = HEAPD_READ_ONCE(heapd_process);
	/* Once: another thread's detach may clear it at any time. */
	self = HEAPD_READ_ONCE(heapd_record);
	/* Whoever else sends this signal is not answered. */
	if (heap && self && handshake_signal_ours(heap, info)) {
		begin.cpu = handshake_signal_seen(heap, thread_index(heap, self),
						  &((const ucontext_t *)context)->uc_stack);
		answer_interrupted(heap, self, (const ucontext_t *)context, begin);
	}
	atomic_fetch_sub(&answering, 1);
	errno = error;
}

void answer_wait_handlers(void)
{
	HEAPD_FENCE();
	while (atomic_load(&answering))
		sched_yield();
}

void answer_forked(void)
{
	atomic_store(&answering, 0);
}

enum taken { TAKEN_NOT, TAKEN_BY_US, TAKEN_BY_OTHERS };

static enum taken signal_taken(int number)
{
	struct sigaction sa;

	if (sigaction(number, NULL, &sa) < 0)
		return TAKEN_BY_OTHERS;
	if (sa.sa_flags & SA_SIGINFO && sa.sa_sigaction == answer_handler)
		return TAKEN_BY_US;
	return sa.sa_handler == SIG_DFL ? TAKEN_NOT : TAKEN_BY_OTHERS;
}

/* The one that an earlier attachment had, else the highest that is free: programs begin at the low end. */
static int signal_find(void)
{
	int found = 0;

	for (int number = SIGRTMIN; number < SIGRTMAX; number++) {
		enum taken taken = signal_taken(number);
		if (taken == TAKEN_BY_US)
			return number;
		if (taken == TAKEN_NOT)
			found = number;
	}
	return found;
}

/* Faults stay deliverable: blocked ones would kill, and who handles them may need to. */
static int signal_install(int number)
{
	struct sigaction sa = { .sa_sigaction = answer_handler,
				.sa_flags = SA_ONSTACK | SA_RESTART | SA_SIGINFO };
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };

	sigfillset(&sa.sa_mask);
	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&sa.sa_mask, faults[i]);
	return sigaction(number, &sa, NULL) < 0 ? -errno : 0;
}

int answer_init(struct heapd_heap *heap, int wanted)
{
	int number = wanted ? wanted : signal_find();

	if (!number)
		return error_set(
			EBUSY,
			"heap '%s': all real-time signals of this process have handlers: leave one to heapd",
			heap->name);
	if (signal_taken(number) == TAKEN_BY_OTHERS)
		return error_set(
			EBUSY,
			"heap '%s': signal %d has a handler of this program's: name another (options.signal)",
			heap->name, number);
	int r = signal_install(number);
	if (r < 0)
		return error_set(-r, "heap '%s': cannot handle signal %d: %s: name another (options.signal)",
				 heap->name, number, strerror(-r));
	heap->signal = number;
	return 0;
}

bool answer_handler_stands(const struct heapd_heap *heap)
{
	return signal_taken(heap->signal) == TAKEN_BY_US;
}

void answer_thread_init(struct heapd_heap *heap, uint32_t index)
{
	sigset_t signals;

	if (heap->t.directory->cycle.collecting)
		madvise(published_area(heap, index), PREPARED_BYTES, MADV_POPULATE_WRITE);
	if (!heap->signal)
		return;
	sigemptyset(&signals);
	sigaddset(&signals, heap->signal);
	pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}
