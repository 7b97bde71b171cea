/* SPDX-License-Identifier: MIT */
/*
 * The compare-and-swap path to current slabs, for processes without restartable sequences (switched
 * off, valgrind, other C libraries, CPU numbers out of range).
 *
 * It works on rows of its own: a sequence's plain commit would overwrite a swap, and the other way
 * round. {base, bits} is swapped as a whole, so an ABA of bits alone cannot go unseen: if both words
 * are what they were, then the same slab is current with the same slots free, and taking one of them
 * is right, whatever happened in between.
 */
#include "current.h"

static struct heapd_pair *row_pair(struct heapd_heap *heap, uint32_t class)
{
	int cpu = sched_getcpu();
	uint64_t row = cpu < 0 ? 0 : (uint64_t)(uint32_t)cpu % heap->t.cpus;

	return heap->t.cas_rows + (row << (HEAPD_ROW_SHIFT - HEAPD_CURRENT_SHIFT)) + class;
}

uint64_t current_pop_cas(struct heapd_heap *heap, uint32_t class, uint64_t elemsize)
{
	struct heapd_pair *pair = row_pair(heap, class), seen, next;
	volatile uint64_t object; /* stays findable on this stack from before the commit */

	if (unlikely(heap->read_only))
		return 0; /* there is no row mapped */
	seen = (struct heapd_pair){ HEAPD_READ_ONCE(pair->first), HEAPD_READ_ONCE(pair->second) };
	do {
		if (!seen.second)
			return 0;
		object = seen.first + (uint64_t)__builtin_ctzll(seen.second) * elemsize;
		next = (struct heapd_pair){ seen.first, seen.second & (seen.second - 1) };
	} while (!heapd_pair_cas(pair, &seen, next));
	return object;
}

enum current_push current_push_cas(struct heapd_heap *heap, uint32_t class, uint64_t base, uint64_t index)
{
	struct heapd_pair *pair = row_pair(heap, class), seen, next;
	uint64_t bit = 1ull << index;

	seen = (struct heapd_pair){ HEAPD_READ_ONCE(pair->first), HEAPD_READ_ONCE(pair->second) };
	do {
		if (!seen.second || (seen.first ^ base) > HEAPD_CURRENT_ZEROED)
			return CURRENT_ELSEWHERE;
		/* Its slots are not known to be zero any more. */
		next = (struct heapd_pair){ base, seen.second | bit };
	} while (!heapd_pair_cas(pair, &seen, next));
	/* Judged after the swap: the first look may have read the two words of two slabs. */
	return seen.second & bit ? CURRENT_DOUBLE : CURRENT_PUSHED;
}

bool current_install_cas(struct heapd_heap *heap, uint32_t class, uint64_t base, uint64_t bits)
{
	struct heapd_pair *pair = row_pair(heap, class), seen;

	seen = (struct heapd_pair){ HEAPD_READ_ONCE(pair->first), HEAPD_READ_ONCE(pair->second) };
	do {
		if (seen.second)
			return false;
	} while (!heapd_pair_cas(pair, &seen, (struct heapd_pair){ base, bits }));
	return true;
}
