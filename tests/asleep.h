/* SPDX-License-Identifier: MIT */
/*
 * A client's thread that sleeps in the kernel, online.
 *
 * ThreadSanitizer keeps a signal back until the thread comes to a call that it intercepts. In the child of a process with several
 * threads it intercepts none (its interceptors are "ignored" there for good), so the handler would never run: such a thread wakes up
 * now and then, and answers by a call of its own.
 */
#ifndef HEAPD_TESTS_ASLEEP_H
#define HEAPD_TESTS_ASLEEP_H

#include <poll.h>

#include "heapd.h"
#include "heapd/atomic.h"

/* Until a signal's handler has run, or so many milliseconds have passed; -1: no matter how many. */
static inline void asleep(heapd_heap *own, int ms)
{
#ifdef HEAPD_TSAN
	poll(NULL, 0, 1);
	heapd_thread_attach(own);
	(void)ms;
#else
	poll(NULL, 0, ms);
	(void)own;
#endif
}

#endif
