/* SPDX-License-Identifier: MIT */
/*
 * Offline and online: a thread that will not touch the heap for a while leaves its registers and its
 * stack pointer in its record, so that its stack can be scanned without it.
 *
 * What was saved is written before the state (release). Coming back, the state is written, then a full
 * fence, then the phase is read (phase.h); and it counts as inside an operation meanwhile, so that a
 * handshake that begins in between waits for its end.
 */
#include <errno.h>

#include "gate.h"
#include "thread.h"

#define THREAD_REGISTERS 6u

/* The rest of heapd_thread_offline(), called from its assembly: sp and registers are its caller's. */
hidden int thread_offline_with(heapd_heap *heap, uint64_t sp, const uint64_t registers[THREAD_REGISTERS]);
int thread_offline_with(heapd_heap *heap, uint64_t sp, const uint64_t registers[THREAD_REGISTERS])
{
	struct heapd_thread *self = thread_self(heap);

	if (!self)
		return -errno;
	if (self->state == HEAPD_THREAD_OFFLINE)
		return 0;
	self->saved_sp = sp;
	for (unsigned i = 0; i < THREAD_REGISTERS; i++)
		self->saved_regs[i] = registers[i];
	/* Pairs with the agent's acquire load of the state: what was saved is there. */
	HEAPD_STORE_RELEASE(&self->state, HEAPD_THREAD_OFFLINE);
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
	if (self->state != HEAPD_THREAD_OFFLINE)
		return 0;
	gate_enter(self);
	HEAPD_STORE_RELEASE(&self->state, HEAPD_THREAD_ONLINE);
	HEAPD_FENCE();
	if (HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.phase) != HEAPD_PHASE_IDLE)
		HEAPD_WRITE_ONCE(self->gate.on, 1);
	gate_leave(self);
	return 0;
}
