/* SPDX-License-Identifier: MIT */
/*
 * Offline and online: a thread that will not touch the heap for a while leaves its registers and its
 * stack pointer in its record, so that its stack can be scanned without it.
 *
 * What was saved is written before the state (release). Coming back, the state is written, then a full
 * fence, then the phase is read (phase.h); and it counts as inside an operation meanwhile, so that a
 * handshake that begins in between waits for its end. The state is swapped, since the agent may be reading
 * the thread's stack (SCANNING): then the thread waits until that is over. What the phase asks of it, it does
 * at once: in handshake 1 its barrier is on, unscanned; in the scan it answers for itself, unless the agent
 * has; afterwards the agent has.
 *
 * Calls of an offline thread. Its arguments are held without it: by what it saved, or by a root; that is the
 * rule for offline threads. So a call has to be online only while it holds, on its own frames, what nothing
 * else holds yet (a new object that is still to be zeroed, filled or linked), or while it uses the record's
 * gate, whose `on` is only then this thread's to rely on. Those parts stand between thread_enter() and
 * thread_leave(). Inside, the thread is online like any other and answers for its whole stack itself;
 * afterwards what it saved stands again, and is right again: the frames from the saved stack pointer upwards
 * cannot have returned meanwhile, and the frames below it, with all that the call held, are gone. What the
 * call returns is held by nothing then, unless the call made a root of it. A call that waits for supply holds nothing new, and
 * is offline meanwhile: it saves once more, and puts back what was saved before (refill.c).
 *
 * That this costs an online thread nothing rests on heapd_self, which is NULL while the thread is offline, and on
 * heapd_here, which goes with it: the fast paths of heapd_alloc() and heapd_free() look at one of them anyway, and so take their slow ways, which
 * bracket themselves. In the same way the gate pointer leads to nobody's gate, which is always on: the inline
 * barrier of an offline thread goes to the functions behind it (barrier.c), which bracket themselves, too.
 * So a store by an offline thread is logged as any other is. It is right only if what it stores is held
 * all the while: by what the thread saved, or by a pin (heapd_store_pinned()).
 */
#include <errno.h>
#include <sched.h>

#include "answer.h"
#include "gate.h"
#include "heapd/delay.h"
#include "thread.h"

#define THREAD_REGISTERS 6u

/* What is saved in the record is there already, from now or from before. */
void thread_leave_away(void)
{
	struct heapd_thread *self = heapd_record;

	thread_words_offline();
	/* Pairs with the agent's acquire load of the state: what was saved is there. */
	if (self)
		HEAPD_STORE_RELEASE(&self->state, HEAPD_THREAD_OFFLINE);
}

/* Acquire: what the agent read is read before this thread changes it. */
static void state_return(struct heapd_thread *self)
{
	uint32_t state = HEAPD_THREAD_OFFLINE;

	while (!__atomic_compare_exchange_n(&self->state, &state, HEAPD_THREAD_ONLINE, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
		state = HEAPD_THREAD_OFFLINE;
		sched_yield();
	}
	HEAPD_FENCE();
}

static void thread_return(struct heapd_heap *heap, struct heapd_thread *self)
{
	gate_enter(self);
	state_return(self);
	DELAY(8);
	uint32_t on = HEAPD_READ_ONCE(self->gate.on);
	uint64_t now = HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now);
	/* If that fails, handshake 1 of a later cycle has written meanwhile. */
	if (heapd_now_barrier(now))
		__atomic_compare_exchange_n(&self->gate.on, &on, heapd_now_cycle(now), false,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	answer_here(heap, self);
	gate_leave(self);
	thread_words_online(heap, self);
}

struct heapd_thread *thread_enter_away(struct heapd_heap *heap, bool *away)
{
	struct heapd_thread *self = thread_self(heap);

	*away = self && !heapd_self;
	if (*away)
		thread_return(heap, self);
	return self;
}

/* The rest of heapd_thread_offline(), called from its assembly: sp and registers are its caller's. */
hidden int thread_offline_with(heapd_heap *heap, uint64_t sp, const uint64_t registers[THREAD_REGISTERS]);
int thread_offline_with(heapd_heap *heap, uint64_t sp, const uint64_t registers[THREAD_REGISTERS])
{
	struct heapd_thread *self = thread_self(heap);

	if (!self)
		return -errno;
	if (!heapd_self)
		return 0;
	self->saved_sp = sp;
	for (unsigned i = 0; i < THREAD_REGISTERS; i++)
		self->saved_regs[i] = registers[i];
	thread_leave_away();
	return 0;
}

#if defined(__x86_64__)
/*
 * The registers must be the caller's own, and the caller's frame is what stays when this returns: no
 * compiled function can promise either, so the entry is written out.
 */
__attribute__((naked)) int heapd_thread_offline(heapd_heap *heap __attribute__((unused)))
{
	__asm__("leaq 8(%rsp), %rsi\n\t"
		"subq $56, %rsp\n\t"
		".cfi_adjust_cfa_offset 56\n\t"
		"movq %rbx, 0(%rsp)\n\t"
		"movq %rbp, 8(%rsp)\n\t"
		"movq %r12, 16(%rsp)\n\t"
		"movq %r13, 24(%rsp)\n\t"
		"movq %r14, 32(%rsp)\n\t"
		"movq %r15, 40(%rsp)\n\t"
		"movq %rsp, %rdx\n\t"
		"call thread_offline_with\n\t"
		"addq $56, %rsp\n\t"
		".cfi_adjust_cfa_offset -56\n\t"
		"ret");
}
#else
/* Where it is not known how to save the registers a thread stays online: slower for the collector, and right. */
int heapd_thread_offline(heapd_heap *heap)
{
	return heapd_thread_attach(heap);
}
#endif

int heapd_thread_online(heapd_heap *heap)
{
	struct heapd_thread *self = thread_self(heap);

	if (!self)
		return -errno;
	if (!heapd_self)
		thread_return(heap, self);
	answer_poll(heap);
	return 0;
}
