/* SPDX-License-Identifier: MIT */
/*
 * The thread's gate, from inside the library: operations that must not straddle the thread's own
 * handshake stand between gate_enter() and gate_leave(). `inside` is odd between the two. Signal
 * fences suffice: the handshake's handler runs on this thread, and the daemon looks at `inside` only
 * after a membarrier(GLOBAL_EXPEDITED), which is this side's full fence.
 */
#ifndef HEAPD_CLIENT_GATE_H
#define HEAPD_CLIENT_GATE_H

#include "client.h"

/* Of a number that this thread alone writes. One instruction, where the compiler makes three of an atomic load and a store. */
static inline void count_one(uint64_t *n)
{
#if defined(__x86_64__)
	__asm__ volatile("incq %0" : "+m"(*n) : : "cc");
#else
	HEAPD_WRITE_ONCE(*n, *n + 1);
#endif
}

static inline void gate_enter(struct heapd_thread *self)
{
	count_one(&self->gate.inside);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void gate_leave(struct heapd_thread *self)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	count_one(&self->gate.inside);
}

#endif
