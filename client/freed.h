/* SPDX-License-Identifier: MIT */
/*
 * The way back that is always open: slots of a slab marked as freed, for the daemon to harvest.
 */
#ifndef HEAPD_CLIENT_FREED_H
#define HEAPD_CLIENT_FREED_H

#include "client.h"

/*
 * The dirty bit leads the daemon to the word. It is looked at after the freed bits were set (a locked
 * instruction, so in this order). The daemon clears it (a locked exchange) before it reads the word, so whoever
 * sees it set knows that the daemon has yet to read; and it clears only the freed bits that it read.
 */
static inline void freed_mark_dirty(struct heapd_heap *heap, uint32_t slab)
{
	uint64_t *dirty = &heap->t.freed_dirty[slab / 64], bit = 1ull << (slab % 64);

	if (!(HEAPD_READ_ONCE(*dirty) & bit))
		__atomic_fetch_or(dirty, bit, __ATOMIC_RELEASE);
}

/* Sets freed bits. Release: what this thread wrote to the slots comes before anybody reuses them. */
static inline void freed_set(struct heapd_heap *heap, uint32_t slab, uint64_t bits)
{
	__atomic_fetch_or(&heap->t.freed[slab], bits, __ATOMIC_RELEASE);
	freed_mark_dirty(heap, slab);
}

/* Sets one freed bit: whether it was set before. (Of a fetch_or whose result is used, compilers make a loop.) */
static inline bool freed_set_one(struct heapd_heap *heap, uint32_t slab, uint64_t bit)
{
	bool was;
#if defined(__x86_64__)
	__asm__ volatile("lock btsq %2, %1"
			 : "=@ccc"(was), "+m"(heap->t.freed[slab])
			 : "r"((uint64_t)__builtin_ctzll(bit))
			 : "memory");
#else
	was = __atomic_fetch_or(&heap->t.freed[slab], bit, __ATOMIC_RELEASE) & bit;
#endif
	freed_mark_dirty(heap, slab);
	return was;
}

#endif
