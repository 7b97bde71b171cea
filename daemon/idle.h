/* SPDX-License-Identifier: MIT */
/*
 * Free pages that nobody has used for a while, and what becomes of them. Guarded by heap->lock.
 */
#ifndef HEAPD_IDLE_H
#define HEAPD_IDLE_H

#include "pageheap.h"

/*
 * Giving back to the system, from one chunk at a time; which pages they are stands in the ledger meanwhile (head->hole). Taking: of a
 * chunk, from number *from on, the pages that are free and were so when noted last: nobody can take them until they are
 * given; false if there are none that are worth it, or what is committed ahead of need would be touched. Giving: their
 * memory is gone, or (punched false) is as it was.
 */
bool pages_idle_take(struct pages *pages, uint64_t *from);
void pages_idle_give(struct pages *pages, bool punched);
/* Those that were taken before the daemon was born: they are given as any other. */
void pages_idle_keep(struct pages *pages);
/* Notes which pages are free now. */
void pages_idle_note(struct pages *pages);

#endif
