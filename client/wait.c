/* SPDX-License-Identifier: MIT */
/*
 * heapd_wait() and heapd_wake(): a futex between clients, on a word of an object. It is a shared one:
 * the kernel finds waiters by the file and offset of the word, the same in every process. The thread
 * is offline while it waits; the word's object is held by its stack, or by whatever holds it now.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "thread.h"

static int word_check(const struct heapd_heap *heap, const char *call, const uint32_t *word)
{
	if (heap_contains(heap, word) && (uintptr_t)word % 4 == 0)
		return 0;
	return error_set(EINVAL,
			 "%s(%p): no 4-byte aligned word of heap '%s': give one that lies in an object", call,
			 (const void *)word, heap->name);
}

static int futex_wait(const uint32_t *word, uint32_t expected, int timeout_ms)
{
	struct timespec t = clock_timespec(timeout_ms < 0 ? 0 : (uint32_t)timeout_ms * CLOCK_MS);
	long r = syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout_ms < 0 ? NULL : &t, NULL, 0);

	return r < 0 ? -errno : 0;
}

int heapd_wait(heapd_heap *heap, uint32_t *word, uint32_t expected, int timeout_ms)
{
	int r;

	if (!thread_self(heap))
		return -errno;
	r = word_check(heap, "heapd_wait", word);
	if (r < 0)
		return r;
	bool was_offline = !heapd_self;
	if (!was_offline)
		heapd_thread_offline(heap);
	r = futex_wait(word, expected, timeout_ms);
	if (!was_offline)
		heapd_thread_online(heap);
	heapd_keep(word);
	if (r == 0 || r == -EAGAIN)
		return 0;
	if (r == -ETIMEDOUT)
		return error_set(
			ETIMEDOUT,
			"heapd_wait: the time is over, and nobody woke it: look at the word, and wait again");
	if (r == -EINTR)
		return error_set(EINTR,
				 "heapd_wait: interrupted by a signal: look at the word, and wait again");
	return error_set(-r, "heapd_wait(%p): %s: give a word of the heap", (void *)word, strerror(-r));
}

int heapd_wake(heapd_heap *heap, uint32_t *word, int n)
{
	int r;

	if (!thread_self(heap))
		return -errno;
	r = word_check(heap, "heapd_wake", word);
	if (r < 0)
		return r;
	long woken = syscall(SYS_futex, word, FUTEX_WAKE, n < 0 ? INT_MAX : n, NULL, NULL, 0);
	return woken < 0 ? error_set(errno, "heapd_wake: %s: look at the address", strerror(errno))
			 : (int)woken;
}
