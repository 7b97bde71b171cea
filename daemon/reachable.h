/* SPDX-License-Identifier: MIT */
/*
 * What the roots lead to, for the verification. See verifier.h.
 */
#ifndef HEAPD_DAEMON_REACHABLE_H
#define HEAPD_DAEMON_REACHABLE_H

#include "verifier.h"

/* After rings and held slabs were found sound: fills reachable, reachable_objects and dangling. -ENOMEM. */
int reachable_verify(struct verifier *v);

#endif
