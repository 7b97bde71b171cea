/* SPDX-License-Identifier: MIT */
/*
 * How much garbage a collector may leave: what is unreachable goes within two cycles.
 */
#ifndef HEAPD_STRESS_BOUND_H
#define HEAPD_STRESS_BOUND_H

/*
 * From a process of its own, when no other client is attached: two collections later exactly that is allocated which roots
 * lead to. 0, or 1: said what is left.
 */
int stress_bound(void *unused);

#endif
