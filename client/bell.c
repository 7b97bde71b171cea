/* SPDX-License-Identifier: MIT */
/*
 * bell.c - owns how a client calls the supplier, and waits for it.
 *
 * Right because the fence here pairs with the supplier's between setting the bell and looking at what is wanted: one of the two sees
 * the other. A bell is lost only with whoever rang it, so who waits rings again.
 */
#include "bell.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"

void bell_wake(struct heapd_heap *heap, bool now)
{
	uint32_t *word = &heap->t.control->bell, bell;

	HEAPD_FENCE();
	bell = HEAPD_READ_ONCE(*word);
	if ((bell == HEAPD_BELL_SLEEP || (now && bell == HEAPD_BELL_NAP)) &&
	    __atomic_compare_exchange_n(word, &bell, HEAPD_BELL_AWAKE, false, __ATOMIC_ACQ_REL,
					__ATOMIC_RELAXED))
		syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void bell_ring(struct heapd_heap *heap, uint32_t class, bool empty)
{
	uint64_t *word = &heap->t.control->demand[class / 64], bit = 1ull << (class % 64);

	if (!(HEAPD_READ_ONCE(*word) & bit))
		__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
	bell_wake(heap, empty);
}

void bell_wait(const uint32_t *word, uint32_t expected, uint64_t ns)
{
	struct timespec ts = clock_timespec(ns);

	syscall(SYS_futex, word, FUTEX_WAIT, expected, &ts, NULL, 0);
}

int bell_refused(const uint32_t *word, const uint32_t *whole, uint32_t refused, uint32_t since)
{
	if (HEAPD_LOAD_ACQUIRE(word) == refused)
		return 0;
	return heapd_refusal_counts(HEAPD_READ_ONCE(*whole), since) ? ENOMEM : 0;
}
