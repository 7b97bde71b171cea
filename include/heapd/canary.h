/* SPDX-License-Identifier: MIT */
/*
 * Canaries: in a hardened heap (HEAPD_DEBUG_HARDENED) the last word of each slot is no program's. It says what is so of the slot:
 *
 *   canary(slot)   its object is alive, or was freed where frees are checked: the rest is the program's
 *   freeing(slot)  somebody is freeing it, died there, or freed it while a cycle was under way: the rest may be overwritten in part
 *   poison         it is free, and all of the slot is HEAPD_POISON_WORD; or just taken, and not zeroed yet
 *   else           somebody wrote past the object's end
 *
 * Taking a slot: all of it is looked at for poison, then canary, then the rest is zeroed. Giving it back: canary -> freeing by a
 * compare-and-swap, so that one of two who free at once is told, in a cycle, too: one may have begun before it, and given the slot to a
 * current slab, while the other sets the freed bit. Then, but for in a cycle, poison, the last word last (release); then its bit. So
 * whoever dies in between, at any store, leaves one of the four, and none that says of honest memory that it was overwritten.
 *
 * None of the words is an address of any heap: bits 63 to 48 are neither all 0 nor all 1. Each slot has its own, so that a copy of a
 * neighbour's is told from it; the lowest byte, which an overflow reaches first, is never 0, as the end of a string is.
 */
#ifndef HEAPD_CANARY_H
#define HEAPD_CANARY_H

#include <stdint.h>

#define HEAPD_CANARY_BYTES 8u

/* id: the heap's, see struct heapd_directory; slot: its first address. */
static inline uint64_t heapd_canary(uint64_t id, uint64_t slot)
{
	uint64_t mixed = (id ^ slot) * 0x9e3779b97f4a7c15ull;

	return 0xca4a000000000000ull | (mixed ^ mixed >> 32) >> 16 | 1;
}

static inline uint64_t heapd_canary_freeing(uint64_t id, uint64_t slot)
{
	return heapd_canary(id, slot) ^ 1ull << 62;
}

#endif
