/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_PATH_H
#define HEAPD_CLIENT_PATH_H

#include "client.h"

/* HEAPD_PATH_RSEQ where restartable sequences work here, else HEAPD_PATH_CAS. flags: HEAPD_ATTACH_*. */
hidden uint32_t path_choose(const struct heapd_heap *heap, uint32_t flags);

#endif
