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

static inline void gate_enter(struct heapd_thread *self)
{
	HEAPD_WRITE_ONCE(self->gate.inside, self->gate.inside + 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void gate_leave(struct heapd_thread *self)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	HEAPD_WRITE_ONCE(self->gate.inside, self->gate.inside + 1);
}

#endif
