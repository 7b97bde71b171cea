/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_STACK_H
#define HEAPD_CLIENT_STACK_H

#include <signal.h>

#include "client.h"
#include "heapd/session.h"

#define STACK_RED_ZONE 128u /* bytes below the stack pointer that a function may use without moving it */

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
 * Adds those that a thread holds apart from its registers: its stack from `below` bytes under sp on (of an interrupted
 * thread STACK_RED_ZONE, else 0), its local ranges, its open edits. alternate: its alternate signal stack where that is known, else NULL. False: sp is on a
 * stack that the thread did not tell of, so not all were found. Async-signal-safe.
 */
hidden bool stack_words_add_thread(const struct heapd_heap *heap, struct stack_words *out,
				   const struct heapd_thread *thread, uint64_t sp, uint64_t below,
				   const stack_t *alternate);

/*
 * What calls have left below the caller's frame later ones have in theirs, in places that they do not write. There the
 * collector sees it, and one such word keeps an object, and all that it leads to, for as long as the program goes the
 * same ways: of a queue, each node that came after. So the stack is cleared as far down as most calls go: now and then, and
 * before a wait for a collection. (After GC_clear_stack() of Boehm's collector.)
 */
hidden void stack_clear(void) __attribute__((noinline));

/*
 * Adds those of the calling thread: its registers, its stack, its local ranges and its edits. False: it
 * runs on a stack that it did not tell of, so not all were found.
 */
hidden bool stack_words_add_own(const struct heapd_heap *heap, struct stack_words *out,
				const struct heapd_thread *self);

#endif
