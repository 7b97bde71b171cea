/* SPDX-License-Identifier: MIT */
/* control.h - what other files of the library ask of control.c. */
#ifndef HEAPD_CLIENT_CONTROL_H
#define HEAPD_CLIENT_CONTROL_H

#include "client.h"

/* heapd_collect(), but for no longer than that: -ETIMEDOUT, without a sentence. */
int collect_within(struct heapd_heap *heap, uint64_t deadline);

#endif
