/* SPDX-License-Identifier: MIT */
/* cells.h - what the slots of weak cells say while they are free: nothing. */
#ifndef HEAPD_DAEMON_CELLS_H
#define HEAPD_DAEMON_CELLS_H

#include "heap.h"

/* Of a span that is about to be published, and of slots of one slab that are about to be free. Other classes are left alone. */
void cells_cut(const struct heap *heap, uint32_t first, const struct heapd_span *span);
void cells_free(const struct heap *heap, uint32_t first, uint32_t k, uint64_t slots);

#endif
