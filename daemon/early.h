/* SPDX-License-Identifier: MIT */
/*
 * Early frees: what was freed by hand while the program could still reach it (Free=checked).
 */
#ifndef HEAPD_DAEMON_EARLY_H
#define HEAPD_DAEMON_EARLY_H

#include "heap.h"

struct early {
	struct log_limit lines;
};

void early_init(struct early *early);
void early_deinit(struct early *early, struct heap *heap);

/*
 * After marking, before the sweep; takes heap->lock. Each object that had been freed when the cycle began, and that a
 * root leads to all the same, is reported with its path and is an object again, not freed. How many there were.
 */
uint64_t early_look(struct early *early, struct heap *heap);

#endif
