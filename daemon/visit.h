/* SPDX-License-Identifier: MIT */
/*
 * Visits: taking back current slabs that nobody uses any more.
 */
#ifndef HEAPD_VISIT_H
#define HEAPD_VISIT_H

#include "supply.h"

int visit_init(struct supply *supply);
void visit_deinit(struct supply *supply);

/*
 * Once a second, from the supplier thread, without heap->lock: if rings and current slabs together hold
 * more than the bound (4 MiB, or 2 % of what is committed), withdraws the current slabs that have not
 * changed since the last look. True if it found more than the bound: look again in a second, there may be
 * nobody left to wake the supplier.
 */
bool visit_stranded(struct supply *supply, uint64_t now);

#endif
