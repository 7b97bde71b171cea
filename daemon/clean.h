/* SPDX-License-Identifier: MIT */
/*
 * Free memory that is cleared before somebody wants it. Guarded by heap->lock, but for what says otherwise.
 */
#ifndef HEAPD_CLEAN_H
#define HEAPD_CLEAN_H

#include "pageheap.h"

/* A large object of n pages was taken, which is to be zero. */
void pages_clean_note(struct pages *pages, uint64_t n);
/* A collection is over: as much as was noted since the last one is cleared now, of what is free. Wakes the scavenger for it. */
void pages_clean_start(struct pages *pages);

/* A few pages, by the scavenger's thread. The second step needs no lock. begin: false: there is nothing to do. */
bool pages_clean_begin(struct pages *pages);
void pages_clean_clear(struct pages *pages);
void pages_clean_end(struct pages *pages);

/* For the page heap's own files: what is in hand is free again, once it is cleared; false: there is none. */
bool clean_take_over(struct pages *pages);

#endif
