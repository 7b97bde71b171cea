/* SPDX-License-Identifier: MIT */
/*
 * receipts.h - what each client that died left: the objects that only its roots kept, and when they were back.
 *
 * A receipt is begun at the death and waits for the next whole collection that begins after it. That one, when it has
 * marked what the living hold, counts what the dead one's pins, registered ranges and stacks lead to besides, and when it
 * has swept the receipt is complete. The last HEAPD_RECEIPTS_KEPT are remembered, as long as the daemon lives.
 *
 * All of it under heap->lock, but for the counting itself, which is the collector's thread's.
 */
#ifndef HEAPD_DAEMON_RECEIPTS_H
#define HEAPD_DAEMON_RECEIPTS_H

#include "heap.h"
#include "heapd/message.h"
#include "sweeper.h"

#define HEAPD_RECEIPTS_KEPT 64u

/*
 * Who died. fd: its session's memory, which stays the caller's; charged: what is charged for that; threads and pins: so
 * many it was given room for.
 */
struct receipt_of {
	pid_t pid;
	uid_t uid;
	uint64_t session, in_flight, charged;
	uint32_t threads, pins;
	const char *client;
	int fd;
};

/* Sets heap->receipts; where that is NULL, nothing is remembered. -ENOMEM. */
int receipts_init(struct heap *heap);
void receipts_deinit(struct heap *heap);

/* With heap->lock held, before its session's memory is given up. */
void receipts_add(struct heap *heap, const struct receipt_of *of);

/* After a whole cycle's marking, before its sweep; for at most about so long. Takes heap->lock in pieces. */
void receipts_count(struct heap *heap, uint64_t budget_ns);

/* After its sweep. Logs them. */
void receipts_complete(struct heap *heap, uint32_t cycle, const struct sweep_counts *swept);

/* The end of any cycle, with heap->lock held: whoever died in its course is the next one's to count. */
void receipts_cycle_ended(struct heap *heap);

/* The first receipt with a number greater than receipt->number of which `wanted` says true; number 0: there is none. Takes heap->lock. */
void receipts_next(struct heap *heap, struct heapd_receipt *receipt,
		   bool (*wanted)(const void *arg, uint32_t uid), const void *arg);

#endif
