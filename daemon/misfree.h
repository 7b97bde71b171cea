/* SPDX-License-Identifier: MIT */
/*
 * Misfree: frees that clients' libraries refused by themselves, and what else they found. They count it, in control; here they become statistics,
 * which those who may only read see as well.
 */
#ifndef HEAPD_DAEMON_MISFREE_H
#define HEAPD_DAEMON_MISFREE_H

#include "supply.h"

/* Looks at what clients have counted. With heap->lock. */
void misfree_count(struct supply *supply);

#endif
