/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_BELL_H
#define HEAPD_CLIENT_BELL_H

#include "client.h"

/* Wakes the supplier after something was written that it is to see; `now`: even from a nap. */
hidden void bell_wake(struct heapd_heap *heap, bool now);

/* Tells the daemon that this class is wanted; `empty`: somebody waits. */
hidden void bell_ring(struct heapd_heap *heap, uint32_t class, bool empty);

/* Waits at most so long for the word, which the daemon writes, to be another one. */
hidden void bell_wait(const uint32_t *word, uint32_t expected, uint64_t ns);

/* After that: ENOMEM if it was refused since `refused` was read, for good reason (heapd_refusal_counts()); 0: look again. */
hidden int bell_refused(const uint32_t *word, const uint32_t *whole, uint32_t refused, uint32_t since);

#endif
