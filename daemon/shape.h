/* SPDX-License-Identifier: MIT */
/*
 * Shapes: what the marker must know of a class, in one record. Derived from the class and its type, which never
 * change once they are in use.
 */
#ifndef HEAPD_DAEMON_SHAPE_H
#define HEAPD_DAEMON_SHAPE_H

#include "heap.h"

#define SHAPE_WINDOW  64u        /* words of which one look at the map tells */
#define SHAPE_NO_WORD UINT64_MAX /* no flexible array of pointers */

struct shape {
	uint64_t entry; /* what entries of the class have in common, see below */
	uint64_t map;   /* of the slot's first words: which of them may be pointers */
	uint32_t words; /* of a slot; 0: large */
	uint16_t type;
	bool leaf;      /* no word may be a pointer: the object is never looked at */
	bool one;       /* the slot has no more words than `map` tells of */
	bool every;     /* every word may be a pointer */
	bool exact;     /* a word that may be a pointer is one, or NULL */
	uint8_t listed; /* words in `map` */
	uint32_t nbits;

	const uint64_t *bits;  /* the type's map */
	uint64_t flex;         /* the first word of a flexible array of pointers, or SHAPE_NO_WORD */
	uint64_t repeat;       /* of a short period: the map of as many whole ones as a window holds, ... */
	uint32_t repeat_words; /* ... and their words; else 0 */
	uint32_t period;       /* of an array: words after which the map begins anew; else 0 */
};
_Static_assert(sizeof(struct shape) == 64, "a cache line");

/*
 * An entry stands for an object: which word of the heap it begins with, its class, whether it has words to be looked at,
 * and the last of `map`, or 0, if that lies in the cache line with which the slot begins.
 */
#define SHAPE_ENTRY_CLASS 38u
#define SHAPE_ENTRY_GREY  54u
#define SHAPE_ENTRY_FAR   58u

static inline uint64_t shape_entry_at(uint64_t entry)
{
	return entry & ((UINT64_C(1) << SHAPE_ENTRY_CLASS) - 1);
}

static inline uint32_t shape_entry_class(uint64_t entry)
{
	return (uint16_t)(entry >> SHAPE_ENTRY_CLASS);
}

static inline uint64_t shape_entry_grey(uint64_t entry)
{
	return entry >> SHAPE_ENTRY_GREY & 1;
}

static inline uint64_t shape_entry_far(uint64_t entry)
{
	return entry >> SHAPE_ENTRY_FAR;
}

/* False if the class is not in use. */
bool shape_make(struct shape *shape, const struct heap *heap, uint32_t class);

/* Which of the 64 words from word `at` on may be pointers, of an object of n words. */
uint64_t shape_window(const struct shape *shape, uint64_t at, uint64_t n);

/* The word of the type that word `at` of an object is; all elements of a flexible array are its first. */
uint64_t shape_type_word(const struct shape *shape, uint64_t at);

#endif
