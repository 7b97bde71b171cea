/* SPDX-License-Identifier: MIT */
/*
 * Pages of the page heap, taken for spans and given back by them. Guarded by heap->lock.
 */
#ifndef HEAPD_PAGES_H
#define HEAPD_PAGES_H

#include "pageheap.h"

int pages_init(struct pages *pages, struct heap *heap);
void pages_deinit(struct pages *pages);

/* From now on no object begins where the heap does, unless one does so already. */
void pages_bar_base(struct pages *pages);

/*
 * Takes n committed pages, the first on a multiple of align pages. *zeroed: all of them are known to
 * hold zero. -ENOMEM: the limit is reached, by the account or by the address space.
 */
int pages_take(struct pages *pages, uint64_t n, uint64_t align, uint64_t *first, bool *zeroed);
void pages_give(struct pages *pages, uint64_t first, uint64_t n);

#endif
