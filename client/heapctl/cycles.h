/* SPDX-License-Identifier: MIT */
/*
 * cycles.h - the collections that the directory remembers.
 */
#ifndef HEAPCTL_CYCLES_H
#define HEAPCTL_CYCLES_H

#include "ctl.h"

#define CYCLES_ALL UINT64_MAX

/* A copy of cycle n's record; false if it is not there, or was written over meanwhile. */
bool cycle_read(const struct ctl *ctl, uint64_t n, struct heapd_cycle_record *record);

/* The oldest number that may be remembered; *last: the newest. */
uint64_t cycles_first(const struct ctl *ctl, uint64_t *last);

/* A table of all, or of the one with that number. An exit status. */
int cycles_print(const struct ctl *ctl, const char *name, uint64_t which);

/* The words of heapd's log. */
const char *cycle_trigger(uint32_t trigger);

#endif
