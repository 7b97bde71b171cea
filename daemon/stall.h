/* SPDX-License-Identifier: MIT */
/*
 * Who holds up a cycle: said, counted, and after StallTimeout= answered as StallAction= has it. From the collector's thread.
 */
#ifndef HEAPD_DAEMON_STALL_H
#define HEAPD_DAEMON_STALL_H

#include <stdbool.h>
#include <stdint.h>

#include "clients.h"
#include "heap.h"

struct stall {
	uint64_t begin;       /* CLOCK_MONOTONIC, ns: since when something is waited for; 0: nothing is */
	uint64_t told, acted; /* when that was said last, and answered */
};

void stall_begin(struct stall *stall);
void stall_end(struct stall *stall, struct heap *heap);

/*
 * While a client is waited for, as often as one likes: `what` it does ("has not been scanned"), and what that may be. True:
 * this was said for the first time since the begin, which is a second later.
 */
bool stall_look(struct stall *stall, struct heap *heap, uint32_t cycle, const struct client *client,
		const char *what, const char *hint);

#endif
