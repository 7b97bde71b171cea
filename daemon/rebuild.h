/* SPDX-License-Identifier: MIT */
/*
 * rebuild.h - a heap's page map, spans, rings and counts, from the ledger of an earlier daemon.
 */
#ifndef HEAPD_DAEMON_REBUILD_H
#define HEAPD_DAEMON_REBUILD_H

#include "heap.h"

/*
 * After supply_init() of an adopted heap, before its supplier runs and before anybody else looks at it. Clients are at work
 * meanwhile. -ENOMEM, or -EUCLEAN: the ledger contradicts itself, logged.
 */
int rebuild_run(struct heap *heap);

#endif
