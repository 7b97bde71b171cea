/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_STACK_H
#define HEAPD_CLIENT_STACK_H

#include "client.h"

/* Words found that may point into the heap. */
struct stack_words {
	uint64_t *words;
	uint64_t count, room;
	bool overflow; /* there were more than there is room for */
};

/* Adds the words of [low, high) that point into the heap, or one past an object's end. */
hidden void stack_words_add(const struct heapd_heap *heap, struct stack_words *out, uint64_t low,
			    uint64_t high);

/*
 * Adds those of the calling thread: its registers, its stack up to stack_high (0: unknown), and its
 * local ranges. False: it runs on a stack that it did not tell of, so not all were found.
 */
hidden bool stack_words_add_own(struct heapd_heap *heap, struct stack_words *out,
				const struct heapd_thread *self);

#endif
