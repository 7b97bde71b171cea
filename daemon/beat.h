/* SPDX-License-Identifier: MIT */
/*
 * beat.h - how the watchdog learns that a thread gets on.
 *
 * The thread says when it begins to work and when it rests, and beats for each piece of work that it has done; a
 * thread that works and does not beat is stuck. Several threads that share one job may share its beat. Relaxed:
 * a count, it orders nothing.
 */
#ifndef HEAPD_DAEMON_BEAT_H
#define HEAPD_DAEMON_BEAT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct beat {
	_Atomic uint64_t count;
	_Atomic bool working; /* written by one thread alone */
};

static inline void beat_count(struct beat *beat)
{
	atomic_fetch_add_explicit(&beat->count, 1, memory_order_relaxed);
}

/* Of many small steps, one in so many beats. */
static inline void beat_step(struct beat *beat, uint64_t step)
{
	if (step % 1024 == 0)
		beat_count(beat);
}

static inline void beat_begin(struct beat *beat)
{
	beat_count(beat);
	atomic_store_explicit(&beat->working, true, memory_order_relaxed);
}

static inline void beat_rest(struct beat *beat)
{
	atomic_store_explicit(&beat->working, false, memory_order_relaxed);
}

#endif
