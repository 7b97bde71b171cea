/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_RECONNECT_H
#define HEAPD_CLIENT_RECONNECT_H

#include "client.h"

#define RECONNECT_LOOK_NS 10000000ull /* what the daemon asks is looked for so often while no note can come */

/* In heap->away; whoever waits for the daemon's return sleeps on it. */
enum {
	AWAY_NOT = 0,
	AWAY,      /* the sockets have ended; the agent tries to connect again */
	AWAY_LOST, /* a daemon is there, and does not know this session: it will not be there again */
};

/* An attempt under way; the agent's. */
struct reconnect {
	int fd;           /* where HELLO_AGAIN was said, or -1 */
	uint64_t next_ns; /* the next attempt */
	uint64_t pause_ns;
	bool locked; /* request_lock is held by who takes the steps */
};
#define RECONNECT_INIT   \
	{                \
		.fd = -1 \
	}

/* The sockets have ended. Any thread. */
hidden void reconnect_lost(struct heapd_heap *heap);

/* A step of the way back, without waiting. When to take the next one: nanoseconds from now; 0: there is no more to do. */
hidden uint64_t reconnect_step(struct heapd_heap *heap, struct reconnect *r);
hidden void reconnect_end(struct reconnect *r);

/* Waits for what the agent does; false: not until the deadline, or never. */
hidden bool reconnect_wait(struct heapd_heap *heap, uint64_t deadline);
/* The same, where there is no agent, with request_lock held: in a forked child. */
hidden bool reconnect_here(struct heapd_heap *heap, uint64_t deadline);

/* Whether a call that finds the daemon away may wait for it. */
static inline bool reconnect_may_wait(const struct heapd_heap *heap)
{
	return !(heap->options & HEAPD_ATTACH_NO_WAIT) && atomic_load(&heap->away) != AWAY_LOST;
}

/* Away for so long that the program should hear of it: a restart takes less. */
hidden bool reconnect_is_overdue(const struct heapd_heap *heap);

#endif
