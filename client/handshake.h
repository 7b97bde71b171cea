/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_HANDSHAKE_H
#define HEAPD_CLIENT_HANDSHAKE_H

#include <signal.h>

#include "client.h"

/* The agent's memory from one look to the next. All 0 to begin with. */
struct handshake {
	uint32_t cycle; /* whose scan is being served */
	bool handler_lost;
	uint64_t begin_ns;
	uint64_t pause_ns; /* until the next look */
};

/*
 * The agent's: one look at the phase, and in a scan at what is still to be answered: asks the threads that
 * are online, answers for those that are offline and for the registered ranges. Waits for nobody.
 * Nanoseconds until it wants to look again; 0: not before the daemon says so.
 */
hidden uint64_t handshake_serve(struct heapd_heap *heap, struct handshake *h);

/*
 * The handler's, on the thread of that record: the signal has arrived; the thread has this alternate stack for handlers. Its
 * processor time, in nanoseconds, as it was asked.
 */
hidden uint64_t handshake_signal_seen(struct heapd_heap *heap, uint32_t index, const stack_t *alternate);

/* The agent's: asks a thread of this process. 0, or -1 and errno. A signal that execve() overtakes does not reach the next program. */
hidden int handshake_signal_send(const struct heapd_heap *heap, uint32_t tid);

/* The handler's: whether this signal was sent so, for this attachment. */
hidden bool handshake_signal_ours(const struct heapd_heap *heap, const siginfo_t *info);

/* Whether an address lies in the alternate stack that the thread of that record had when it was last asked. */
hidden bool handshake_on_alternate(const struct heapd_heap *heap, uint32_t index, uint64_t at);

/* With an attachment: the table of what was asked of each thread. */
hidden int handshake_init(struct heapd_heap *heap);
hidden void handshake_free(struct heapd_heap *heap);

#endif
