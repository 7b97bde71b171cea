/* SPDX-License-Identifier: MIT */
/*
 * Weak cells, between the end of marking and the sweep. The collector's thread alone.
 */
#ifndef HEAPD_DAEMON_WEAKS_H
#define HEAPD_DAEMON_WEAKS_H

#include "heap.h"
#include "marker.h"

/*
 * With nothing grey and no reachable object white: cells whose objects have died are cleared, and objects whose cells were
 * read meanwhile are revived, which is to make them grey. How many were revived. If any: mark to the end, and call again. If none:
 * no cell leads to what the sweep takes, once a pass over the barrier rings has found nothing either.
 */
uint64_t weaks_settle(struct heap *heap, struct marker *marker, uint64_t *cleared);

#endif
