/* SPDX-License-Identifier: MIT */
/*
 * weather.c - owns what happens to a wandering client between its calls: it is moved, looked at, refused, asked; its daemon's sockets end;
 * its thread's words are as another time would have left them.
 */
#include "weather.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "calls.h"
#include "client/client.h"
#include "conditions.h"
#include "heapd/session.h"
#include "stroll.h"

static unsigned draw(uint64_t *seed, unsigned n)
{
	return (unsigned)(stroll_draw(seed) % n);
}

/* Words of a thread that has no record are nobody's. */
static bool has_record(const struct scene *s)
{
	const struct heapd_thread *t = record_here();

	return s->heap->threads && t >= s->heap->threads && t < s->heap->threads + HEAPD_THREAD_MAX;
}

static void move_anywhere(uint64_t *seed)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(draw(seed, 2), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* The C library itself relies on some of them to fail in one way only. */
static int error_of(enum call call, uint64_t *seed)
{
	static const int errors[] = { EINTR, EAGAIN, ENOMEM, EIO, EEXIST, EPIPE, ECONNRESET };

	return call == CALL_MMAP || call == CALL_MEMORY || call == CALL_MPROTECT ? ENOMEM
										 : errors[draw(seed, 7)];
}

/* Some call fails soon, one way or another, once or for a while. */
static void refuse(uint64_t *seed)
{
	static const unsigned uses[] = { 1, 1, 1, 2, 4, 1000 };
	enum call call = (enum call)draw(seed, CALLS);
	unsigned nth = 1 + draw(seed, 1 + draw(seed, 6));

	calls_fail(call, nth, uses[draw(seed, 6)], error_of(call, seed));
}

/* At its nth use of this its daemon goes, or is there no more. */
static void end_at(uint64_t *seed)
{
	static const enum call calls[] = { CALL_RECEIVE, CALL_SEND, CALL_SYSCALL, CALL_POLL };

	calls_meet(calls[draw(seed, 4)], 1 + draw(seed, 3), sockets_end);
}

void weather_clear(void)
{
	for (unsigned i = 0; i < CALLS; i++) {
		calls_fail((enum call)i, 0, 0, 0);
		calls_meet((enum call)i, 0, NULL);
	}
}

static void words(struct scene *s, uint64_t *seed)
{
	if (!has_record(s) || s->heap->orphan || s->heap->read_only)
		return;
	switch (draw(seed, 4)) {
	case 0:
		corner_barrier(s);
		break;
	case 1:
		corner_ring(s);
		break;
	case 2:
		corner_filter();
		break;
	default:
		corner_narrow(s);
	}
}

void weather(struct scene *s, uint64_t *seed)
{
	switch (draw(seed, 12)) {
	case 0:
		move_anywhere(seed);
		break;
	case 1:
		weather_clear();
		probes_set((unsigned short)draw(seed, 2));
		break;
	case 2:
	case 3:
		refuse(seed);
		break;
	case 4:
		if (draw(seed, 3) == 0)
			end_at(seed);
		break;
	case 5:
		if (draw(seed, 3) == 0)
			sockets_end();
		break;
	case 6:
		weather_clear();
		break;
	case 7:
		usleep(draw(seed, 500));
		break;
	default:
		words(s, seed);
	}
}
