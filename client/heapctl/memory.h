/* SPDX-License-Identifier: MIT */
/*
 * memory.h - what the slots of a class or type amount to.
 */
#ifndef HEAPCTL_MEMORY_H
#define HEAPCTL_MEMORY_H

#include "ctl.h"

struct usage {
	uint64_t slots, used, slabs, spans;
	uint64_t bytes, used_bytes, waste;
	uint64_t slot_size; /* of one span at least */
};

/* By class, or by type. An exit status. */
int usage_load(const struct ctl *ctl, bool by_type, struct usage usages[HEAPD_CLASS_MAX]);

/* The numbers of those that have spans, the largest first; how many there are. */
uint32_t usage_order(struct usage usages[HEAPD_CLASS_MAX], uint32_t order[HEAPD_CLASS_MAX]);

/* The largest classes, as the verb "classes" prints all. */
int classes_print(const struct ctl *ctl, unsigned most);

#endif
