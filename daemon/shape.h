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
	uint64_t map;   /* of the slot's first words: which of them may be pointers */
	uint32_t words; /* of a slot; 0: large */
	uint16_t type;
	uint8_t far; /* the last word of `map`; 0: in the cache line with which the slot begins */
	bool known;
	bool leaf;  /* no word may be a pointer: the object is never looked at */
	bool one;   /* the slot has no more words than `map` tells of */
	bool every; /* every word may be a pointer */
	bool exact; /* a word that may be a pointer is one, or NULL */

	const uint64_t *bits;  /* the type's map */
	uint64_t flex;         /* the first word of a flexible array of pointers, or SHAPE_NO_WORD */
	uint64_t repeat;       /* of a short period: the map of as many whole ones as a window holds, ... */
	uint32_t repeat_words; /* ... and their words; else 0 */
	uint32_t period;       /* of an array: words after which the map begins anew; else 0 */
	uint32_t nbits;
};

/* False if the class is not in use. */
bool shape_make(struct shape *shape, const struct heap *heap, uint32_t class);

/* Which of the 64 words from word `at` on may be pointers, of an object of n words. */
uint64_t shape_window(const struct shape *shape, uint64_t at, uint64_t n);

/* The word of the type that word `at` of an object is; all elements of a flexible array are its first. */
uint64_t shape_type_word(const struct shape *shape, uint64_t at);

#endif
