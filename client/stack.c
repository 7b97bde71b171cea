/* SPDX-License-Identifier: MIT */
/*
 * Finding the heap pointers that a thread holds outside the heap: every aligned word of its stack and
 * its callee-saved registers that lies in the heap.
 *
 * Conservative, and right to be: a word that only looks like a pointer keeps an object a little
 * longer. A word w stands for w and w - 1, since compilers keep one-past-the-end pointers. The
 * registers need no list: __builtin_unwind_init() puts those that a caller may have values in on the
 * stack, below the frame that is scanned from, so they are found as stack words.
 */
#include "stack.h"

#include "range.h"

/* Stack words belong to frames that are not ours: no sanitizer may have an opinion of them. */
#define scanning __attribute__((no_sanitize("address", "thread", "undefined")))

static inline bool word_counts(const struct heapd_heap *heap, uint64_t w)
{
	return w - heap->t.base < heap->t.size || w - 1 - heap->t.base < heap->t.size;
}

scanning void stack_words_add(const struct heapd_heap *heap, struct stack_words *out, uint64_t low,
			      uint64_t high)
{
	const uint64_t *end = (const uint64_t *)(uintptr_t)(high & ~7ul);

	for (const uint64_t *p = (const uint64_t *)(uintptr_t)((low + 7) & ~7ul); p < end; p++) {
		uint64_t w = HEAPD_READ_ONCE(*p);

		if (!word_counts(heap, w))
			continue;
		if (out->count == out->room) {
			out->overflow = true;
			return;
		}
		out->words[out->count++] = w;
	}
}

/* The thread's local ranges; tells whether sp lies in one of them. */
static bool local_ranges_add(const struct heapd_heap *heap, struct stack_words *out, uint32_t thread,
			     uint64_t sp)
{
	bool inside = false;

	for (uint32_t i = 0; i < heap->session->nranges && i < HEAPD_RANGE_MAX; i++) {
		struct heapd_range r = *range_at(heap->session, i);

		if (!r.start || r.thread != thread)
			continue;
		stack_words_add(heap, out, r.start, r.start + r.bytes);
		inside |= sp - r.start < r.bytes;
	}
	return inside;
}

static __attribute__((noinline)) bool words_add_from_here(struct heapd_heap *heap, struct stack_words *out,
							  const struct heapd_thread *self)
{
	uint64_t sp = (uint64_t)(uintptr_t)__builtin_frame_address(0);
	uint32_t thread = 1 + (uint32_t)(self - heap->threads);
	bool known = local_ranges_add(heap, out, thread, sp);

	if (sp < self->stack_low || sp >= self->stack_high)
		return known;
	stack_words_add(heap, out, sp, self->stack_high);
	return true;
}

bool stack_words_add_own(struct heapd_heap *heap, struct stack_words *out, const struct heapd_thread *self)
{
	__builtin_unwind_init();
	bool known = words_add_from_here(heap, out, self);
	/* Not a tail call: this frame, with the registers in it, stands until the words are read. */
	__asm__ volatile("" ::: "memory");
	return known;
}
