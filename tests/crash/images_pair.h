/* SPDX-License-Identifier: MIT */
/*
 * images_pair.h - included before all else in the daemon's traced objects: the compiler sees no store in heapd_pair_cas(), which
 * is an instruction of its own.
 */
#ifndef HEAPD_CRASH_IMAGES_PAIR_H
#define HEAPD_CRASH_IMAGES_PAIR_H

#include "heapd/atomic.h"

bool images_pair_cas(struct heapd_pair *p, struct heapd_pair *expected, struct heapd_pair desired);
#define heapd_pair_cas images_pair_cas

#endif
