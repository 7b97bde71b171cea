/* SPDX-License-Identifier: MIT */
/*
 * Weak cells: heap objects whose one word leads to another object and does not hold it. The collector clears the word
 * when the object has died, after marking and before the sweep (weaks.c of the daemon).
 *
 * A thread that reads a cell gets the object onto its stack. While its barrier is off, or it has yet to be scanned, that
 * is all: reading stands inside the thread's gate, so a scan, and the cycle that would clear the cell, come
 * after it. Once the thread has been scanned nobody looks at its stack again, and the object may be white. So the thread swaps the
 * word p for p|1, "touched", and only then has p. The collector swaps p for 0: both are compare-and-swaps of one
 * word, so one of the two is first, and no fence is needed. Was it this thread, the collector's swap fails, and it
 * marks the object. Was it the collector, this thread finds 0. What was read is shaded as well, as what any operation of a
 * scanned thread takes out of the heap. A cell that such a thread makes is touched from its birth: the collector may have
 * looked at the cell that the object came from, and not have marked it yet.
 *
 * A thread that may not write the heap shades what it read, executes a full fence, and reads the word again. The
 * collector swaps, executes a full fence, and then looks at the barrier rings: it finds the entry, or this thread
 * finds 0.
 *
 * What the word leads to was written before the word (release, pairs with the acquire of every read).
 */
#include <errno.h>

#include "client/barrier.h"
#include "client/fork.h"
#include "client/place.h"
#include "client/thread.h"
#include "heapd/rseq.h"

/* Whether what the thread holds will not be scanned any more in this cycle. */
static bool scanned_already(const struct barrier *b)
{
	return b->on && (b->on == HEAPD_GATE_UNSURE || HEAPD_READ_ONCE(b->self->scanned) == b->on);
}

static bool object_check(const struct heapd_heap *heap, const void *p)
{
	struct place place;

	if (place_find(heap, p, &place) && !((uintptr_t)p & HEAPD_WEAK_TOUCHED))
		return true;
	return error_set(
		       EINVAL,
		       "heapd_weak_new(%p): no object of heap '%s' lies there, or the address is an odd one: give one inside an object, without a tag",
		       p, heap->name) >= 0;
}

static void cell_fill(struct heapd_weak_cell *cell, const void *p)
{
	uint64_t word = (uint64_t)(uintptr_t)p;
	struct barrier b;

	barrier_begin(&b);
	if (scanned_already(&b))
		word |= HEAPD_WEAK_TOUCHED;
	HEAPD_STORE_RELEASE(&cell->word, word);
	barrier_end(&b);
}

heapd_weak *heapd_weak_new(heapd_heap *heap, const void *p)
{
	struct heapd_weak_cell *cell = NULL;
	bool away;

	if (!thread_enter(heap, &away))
		return NULL;
	if (object_check(heap, p))
		cell = (struct heapd_weak_cell *)class_alloc(heap, HEAPD_CLASS_WEAK);
	if (cell)
		cell_fill(cell, p);
	heapd_keep(p);
	thread_leave(away);
	return (heapd_weak *)(void *)cell;
}

/* Builds for tests: time between the two halves of a read. */
static inline void read_delay(void)
{
#ifdef HEAPD_RSEQ_INJECT
	for (uint32_t n = HEAPD_READ_ONCE(heapd_inject[7]); n; n--)
		__asm__ volatile("");
#endif
}

/* 0: the object has died. */
static uint64_t word_touch(uint64_t *word)
{
	uint64_t seen = HEAPD_LOAD_ACQUIRE(word);

	read_delay();
	while (seen && !(seen & HEAPD_WEAK_TOUCHED))
		if (__atomic_compare_exchange_n(word, &seen, seen | HEAPD_WEAK_TOUCHED, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			break;
	return seen & ~(uint64_t)HEAPD_WEAK_TOUCHED;
}

/* Where the word cannot be written. */
static uint64_t word_shade(struct heapd_thread *self, uint64_t *word)
{
	uint64_t seen = HEAPD_LOAD_ACQUIRE(word) & ~(uint64_t)HEAPD_WEAK_TOUCHED;

	read_delay();
	barrier_shade(self, (void *)(uintptr_t)seen);
	HEAPD_FENCE();
	return (HEAPD_LOAD_ACQUIRE(word) & ~(uint64_t)HEAPD_WEAK_TOUCHED) == seen ? seen : 0;
}

static void *cell_read(struct heapd_heap *heap, struct heapd_weak_cell *cell)
{
	uint64_t word;
	struct barrier b;

	barrier_begin(&b);
	if (!scanned_already(&b)) {
		word = HEAPD_LOAD_ACQUIRE(&cell->word) & ~(uint64_t)HEAPD_WEAK_TOUCHED;
	} else if (heap->read_only) {
		word = word_shade(b.self, &cell->word);
	} else {
		word = word_touch(&cell->word);
		barrier_shade(b.self, (void *)(uintptr_t)word);
	}
	barrier_end(&b);
	return (void *)(uintptr_t)word;
}

static struct heapd_weak_cell *cell_check(const struct heapd_heap *heap, const heapd_weak *weak)
{
	struct place place;

	if (place_find(heap, weak, &place) && place.span->class == HEAPD_CLASS_WEAK &&
	    place.start == (uint64_t)(uintptr_t)weak)
		return (struct heapd_weak_cell *)(uintptr_t)weak;
	return (struct heapd_weak_cell *)error_null(
		EINVAL,
		"heapd_weak_get(%p): no weak reference of heap '%s' lies there: give what heapd_weak_new() returned",
		(const void *)weak, heap->name);
}

void *heapd_weak_get_sym(const heapd_weak *weak)
{
	struct heapd_heap *heap = heapd_process;
	struct heapd_weak_cell *cell;
	void *p = NULL;
	bool away;

	if (!heap)
		return fork_heap_missing(NULL), NULL;
	if (!thread_enter(heap, &away))
		return NULL;
	cell = cell_check(heap, weak);
	if (cell)
		p = cell_read(heap, cell);
	heapd_keep(p);
	thread_leave(away);
	if (cell && !p)
		errno = 0;
	return p;
}
