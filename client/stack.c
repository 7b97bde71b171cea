/* SPDX-License-Identifier: MIT */
/*
 * Finding the heap pointers that a thread holds outside the heap: every aligned word of its stack and
 * its registers that lies in the heap.
 *
 * Conservative, and right to be: a word that only looks like a pointer keeps an object a little
 * longer. A word w stands for w and w - 1, since compilers keep one-past-the-end pointers. A thread's own
 * registers need no list: __builtin_unwind_init() puts those that a caller may have values in on the
 * stack, below the frame that is scanned from, so they are found as stack words.
 *
 * Which part of which stack. From the stack pointer to the stack's end, if it lies in the thread's stack; of a
 * thread that a signal has interrupted, from the red zone on, where a function may have values without having moved
 * the stack pointer. Whoever has called a function has none there: the call has written to it. In the alternate signal stack, that one from there on, and of the thread's stack
 * what was in use when the signal came: where that ended is not known, but the frame that the kernel put
 * on the alternate stack holds it, so the lowest address of the thread's stack that is found there is at
 * or below it. In a local range (a coroutine's stack), the ranges are read whole anyway, and so is the
 * thread's stack, which some other coroutine may have left anywhere.
 *
 * All but stack_words_add_own() also runs in a signal handler: no lock, no allocation. The table of
 * ranges is read without its lock: of the thread's own entries none changes meanwhile, and another's
 * names its thread before its start shows (range.c).
 */
#include "stack.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "range.h"
#include "touched.h"

#define CLEARED 2048u /* bytes */
#define PICKED  512u  /* words at a time: the nearest cache has them still when they are gone through again */
#define RUN     16u   /* words that are looked at together */
#define PLENTY  1024u /* words; below that to say one twice takes less time than to find out */

typedef int32_t quad __attribute__((vector_size(16)));
typedef uint32_t quad_unsigned __attribute__((vector_size(16)));
typedef uint64_t quad_halves __attribute__((vector_size(16)));
typedef int32_t quad_words __attribute__((vector_size(16), aligned(8), may_alias)); /* two of a stack's */

/* Stack words belong to frames that are not ours: no sanitizer may have an opinion of them. */
#define scanning __attribute__((no_sanitize("address", "thread", "undefined")))

/* The upper halves of four words that lie one after the other. */
static inline scanning quad upper_halves(const uint64_t *from)
{
	const quad_words *p = (const quad_words *)(const void *)from;

	return __builtin_shufflevector(p[0], p[1], 1, 3, 5, 7);
}

/*
 * Of RUN words, whether the upper half of some is that of an address in the heap, or of its end. What most of a stack and of
 * a signal's frame is, is done with by this, in a fourth of the time.
 */
static inline scanning bool run_may_point(const uint64_t *from, uint64_t base, uint64_t size)
{
	/* As signed numbers: those of the heap are the least ones, up to `last`. */
	uint32_t first = (uint32_t)(base >> 32) + (1u << 31);
	int32_t last = (int32_t)((uint32_t)((base + size) >> 32) - first);
	quad none = { -1, -1, -1, -1 };

#pragma GCC unroll 4
	for (unsigned i = 0; i < RUN; i += 4)
		none &= (quad)((quad_unsigned)upper_halves(from + i) - first) > last;
	return (((quad_halves)none)[0] & ((quad_halves)none)[1]) != UINT64_MAX;
}

/*
 * Of n words, for all of which there is room, those in the heap, or one past its end; their number, with those that were
 * there. Without a branch that depends on a word: which of them are pointers nobody can predict, and wrong guesses were
 * half of what a thread lost to a cycle. Each is written where the next one belongs, and stays there if it counts.
 */
static scanning uint64_t words_pick(const struct heapd_heap *heap, const struct stack_words *out,
				    const uint64_t *from, uint64_t n)
{
	uint64_t base = heap->t.base, size = heap->t.size, count = out->count;

	for (uint64_t i = 0; i < n;) {
		uint64_t end = n - i < RUN ? n : i + RUN;

		if (end - i == RUN && !run_may_point(from + i, base, size))
			i = end;
#pragma GCC unroll 4
		for (; i < end; i++) {
			uint64_t w = HEAPD_READ_ONCE(from[i]);

			out->words[count] = w;
			count += w - base <= size;
		}
	}
	/* What does not count is not the daemon's to see. */
	if (count < out->room)
		out->words[count] = 0;
	return count;
}

/* Of the newest, up to `end`: one equal to the one before it says nothing new, and a deep recursion's stack repeats itself. */
static void words_thin(struct stack_words *out, uint64_t end)
{
	uint64_t *words = out->words, count = out->count, last = count ? words[count - 1] : 0;

	for (uint64_t i = count; i < end; i++) {
		uint64_t w = words[i];

		words[count] = w;
		count += w != last;
		last = w;
	}
	out->count = count;
}

void stack_words_add(const struct heapd_heap *heap, struct stack_words *out, uint64_t low, uint64_t high)
{
	const uint64_t *p = (const uint64_t *)(uintptr_t)((low + 7) & ~7ul);
	const uint64_t *end = (const uint64_t *)(uintptr_t)(high & ~7ul);

	while (p < end) {
		uint64_t left = (uint64_t)(end - p), room = out->room - out->count;
		uint64_t n = left < PICKED ? left : PICKED;

		n = n < room ? n : room;
		if (!n) {
			out->overflow = true;
			break;
		}
		uint64_t picked = words_pick(heap, out, p, n);

		if (picked > PLENTY)
			words_thin(out, picked);
		else
			out->count = picked;
		p += n;
	}
}

/* Whether a page is mapped at all; what is not known to be memory is not touched. */
static bool page_mapped(uint64_t page, uint64_t bytes)
{
	unsigned char resident;

	return mincore((void *)(uintptr_t)page, bytes, &resident) == 0;
}

static void pages_add(const struct heapd_heap *heap, struct stack_words *out, uint64_t page, uint64_t bytes,
		      uint64_t low, uint64_t high)
{
	stack_words_add(heap, out, page > low ? page : low, page + bytes < high ? page + bytes : high);
}

/*
 * As stack_words_add(), of memory that may have holes, and pages that were never touched. Where the kernel does not
 * say which they are, all that is mapped is read.
 */
static void touched_words_add(const struct heapd_heap *heap, struct stack_words *out, uint64_t low,
			      uint64_t high)
{
	uint64_t bytes = (uint64_t)getpagesize();
	struct touched touched;

	touched_begin(&touched);
	for (uint64_t page = low & ~(bytes - 1); page < high;) {
		uint64_t n = touched_look(&touched, page);

		if (!n) {
			if (page_mapped(page, bytes))
				pages_add(heap, out, page, bytes, low, high);
			page += bytes;
		}
		for (uint64_t i = 0; i < n && page < high; i++, page += bytes)
			if (touched_once(&touched, i))
				pages_add(heap, out, page, bytes, low, high);
	}
	touched_end(&touched);
}

/* The thread's local ranges; tells whether sp lies in one of them. */
static bool local_ranges_add(const struct heapd_heap *heap, struct stack_words *out, uint32_t thread,
			     uint64_t sp)
{
	bool inside = false;

	for (uint32_t i = 0; i < HEAPD_READ_ONCE(heap->session->nranges) && i < HEAPD_RANGE_MAX; i++) {
		const struct heapd_range *r = range_at(heap->session, i);
		uint64_t start = HEAPD_LOAD_ACQUIRE(&r->start), bytes;

		if (!start || HEAPD_READ_ONCE(r->thread) != thread)
			continue;
		bytes = HEAPD_READ_ONCE(r->bytes);
		stack_words_add(heap, out, start, start + bytes);
		inside |= sp - start < bytes;
	}
	return inside;
}

static void edits_add(const struct heapd_heap *heap, struct stack_words *out,
		      const struct heapd_thread *thread)
{
	for (unsigned i = 0; i < HEAPD_EDIT_COUNT; i++) {
		uint64_t start = HEAPD_LOAD_ACQUIRE(&thread->edits[i].start);

		if (start)
			stack_words_add(heap, out, start, start + HEAPD_READ_ONCE(thread->edits[i].bytes));
	}
}

/* The lowest address of the thread's stack that stands in [low, high); its end if there is none. */
static scanning uint64_t lowest_of_stack(const struct heapd_thread *thread, uint64_t low, uint64_t high)
{
	uint64_t lowest = thread->stack_high, bytes = lowest - thread->stack_low;

	for (uint64_t at = (low + 7) & ~7ul; at + 8 <= high; at += 8) {
		uint64_t w = HEAPD_READ_ONCE(*(const uint64_t *)(uintptr_t)at);

		if (w - thread->stack_low < bytes && w < lowest)
			lowest = w;
	}
	return lowest;
}

/* Of two stacks: the alternate one from sp on, and what that says of the other. */
static void alternate_add(const struct heapd_heap *heap, struct stack_words *out,
			  const struct heapd_thread *thread, uint64_t sp, uint64_t below,
			  const stack_t *alternate)
{
	uint64_t low = (uint64_t)(uintptr_t)alternate->ss_sp, high = low + alternate->ss_size, main;

	sp = sp - low > below ? sp - below : low;
	stack_words_add(heap, out, sp, high);
	main = lowest_of_stack(thread, sp, high);
	main = main - thread->stack_low > STACK_RED_ZONE ? main - STACK_RED_ZONE : thread->stack_low;
	touched_words_add(heap, out, main, thread->stack_high);
}

bool stack_words_add_thread(const struct heapd_heap *heap, struct stack_words *out,
			    const struct heapd_thread *thread, uint64_t sp, uint64_t below,
			    const stack_t *alternate)
{
	bool local = local_ranges_add(heap, out, 1 + (uint32_t)(thread - heap->threads), sp);

	edits_add(heap, out, thread);
	/* First, since an alternate stack may be an array on the thread's own. */
	if (alternate && sp - (uint64_t)(uintptr_t)alternate->ss_sp < alternate->ss_size)
		alternate_add(heap, out, thread, sp, below, alternate);
	else if (sp >= thread->stack_low && sp <= thread->stack_high)
		stack_words_add(heap, out, sp - below, thread->stack_high);
	else if (local)
		touched_words_add(heap, out, thread->stack_low, thread->stack_high);
	else
		return false;
	return true;
}

static __attribute__((noinline)) bool words_add_from_here(const struct heapd_heap *heap,
							  struct stack_words *out,
							  const struct heapd_thread *self)
{
	return stack_words_add_thread(heap, out, self, (uint64_t)(uintptr_t)__builtin_frame_address(0), 0,
				      NULL);
}

bool stack_words_add_own(const struct heapd_heap *heap, struct stack_words *out,
			 const struct heapd_thread *self)
{
	__builtin_unwind_init();
	bool known = words_add_from_here(heap, out, self);
	/* Not a tail call: this frame, with the registers in it, stands until the words are read. */
	__asm__ volatile("" ::: "memory");
	return known;
}

void stack_clear(void)
{
	char below[CLEARED];

	memset(below, 0, sizeof(below));
	__asm__ volatile("" : : "r"(below) : "memory");
}
