/* SPDX-License-Identifier: MIT */
/*
 * The allocation fast path, and the entry points that lead to it.
 *
 * class_alloc() is: pop a slot from this CPU's current slab (one restartable sequence, one commit
 * store, see heapd/rseq.h), zero it, return it. No lock, no atomic read-modify-write, no system call,
 * no counter: what was allocated is known from what was supplied. Whoever is killed before the commit
 * did nothing; after it, the slot is an object that nobody reaches.
 *
 * The slot's words are zeroed after the commit: nobody else can know its address, and the marker looks
 * at nothing that a thread holds before that thread has answered its scan.
 */
#include <errno.h>
#include <string.h>

#include "current.h"
#include "fork.h"
#include "hardened.h"
#include "refill.h"
#include "sample.h"
#include "stack.h"
#include "thread.h"
#include "zero.h"

#define CLEAR_EVERY 16u
#define SMALL       128u /* bytes; and size classes are 16 bytes apart up to here */
#define WAITS       ((void *)(uintptr_t)REFILL_WAITS)

_Static_assert(SMALL < HEAPD_CLEAN_SLOT_MIN, "what pop says of small slots is their address, and no more");

/* small: it may be. */
static inline __attribute__((always_inline)) void *slot_zero(void *slot, uint64_t bytes, uint8_t narrow,
							     bool small)
{
	return !small || unlikely(bytes > SMALL) ? memset(slot, 0, bytes)
						 : slot_zero_small(slot, bytes, narrow);
}

/* The rest of an allocation, given what pop said: address and, in bit 0, whether it is clean. */
static inline __attribute__((always_inline)) void *slot_finish(const struct heapd_heap *heap, uint64_t popped,
							       uint64_t elemsize, bool small)
{
	void *slot = (void *)(uintptr_t)(popped & ~HEAPD_CURRENT_ZEROED);

	HEAPD_TSAN_ACQUIRE(slot, elemsize);
	return popped & HEAPD_CURRENT_ZEROED ? slot : slot_zero(slot, elemsize, heap->zero_narrow, small);
}

/* Pops a slot, or WAITS. */
static inline __attribute__((always_inline)) void *class_pop(struct heapd_heap *heap, uint32_t class,
							     uint64_t elemsize, bool patient)
{
	uint64_t popped = 0;
	void *slot = NULL;
	bool away;

	if (thread_enter(heap, &away))
		popped = refill_pop(heap, class, elemsize, patient);
	if (popped == REFILL_WAITS)
		slot = WAITS;
	else if (popped)
		slot = slot_finish(heap, popped, elemsize, true);
	thread_leave(away);
	return slot;
}

/*
 * What is waited for may be a collection, which sees this stack; and that is the moment at which one word that an earlier
 * refill has left there matters most. refill_pop() is called from one place, so that the samples of one call site have one
 * stack, and no frame more than it takes.
 */
static __attribute__((noinline, cold)) void *class_refill(struct heapd_heap *heap, uint32_t class,
							  uint64_t elemsize)
{
	bool patient = false;
	uint64_t popped;
	void *slot;

	SAMPLE_FRAME();
	if (unlikely(heap->hardened))
		return hardened_alloc(heap, class);
	if (heapd_self && current_turn(heap, class) && (popped = current_pop(heap, class, elemsize)))
		return slot_finish(heap, popped, elemsize, true);
	while ((slot = class_pop(heap, class, elemsize, patient)) == WAITS) {
		stack_clear();
		patient = true;
	}
	return slot;
}

/* With no locals of its own on the stack: class_refill(), which it jumps to, has its frame in what was cleared. */
static __attribute__((noinline, cold)) void *class_alloc_slow(struct heapd_heap *heap, uint32_t class,
							      uint64_t elemsize)
{
	struct heapd_thread *self = heapd_self;

	if (self && self->slow++ % CLEAR_EVERY == 0)
		stack_clear();
	return class_refill(heap, class, elemsize);
}

/*
 * A thread that is not attached yet, a process without sequences, a used-up slab: all take the slow way,
 * and nothing on the fast one is a call.
 */
static inline __attribute__((always_inline)) void *class_alloc_sized(struct heapd_heap *heap, uint32_t class,
								     uint64_t elemsize, bool small)
{
	uint64_t popped;

	if (unlikely(!heapd_self))
		return class_alloc_slow(heap, class, elemsize);
	popped = current_pop_rseq(heap, class, elemsize);
	return likely(popped) ? slot_finish(heap, popped, elemsize, small)
			      : class_alloc_slow(heap, class, elemsize);
}

void *class_alloc(struct heapd_heap *heap, uint32_t class)
{
	return class_alloc_sized(heap, class, heap->t.classes[class].slot_size, true);
}

/* Of this very class: its alignment is asked for, and in a hardened heap there is room for the canary in it. */
static void *class_alloc_exact(struct heapd_heap *heap, uint32_t class)
{
	return heap->hardened ? hardened_alloc_exact(heap, class) : class_alloc(heap, class);
}

static __attribute__((noinline, cold)) void *heap_missing(const struct heapd_heap *heap)
{
	fork_heap_missing(heap);
	return NULL;
}

/*
 * One object of a built-in type. A size class's own size is computed, not looked up: its slots are
 * exactly that large. (Those of a user's type may be larger, for its alignment.) Of the smallest ones none comes here that
 * is in a hurry: they have no code of their own.
 */
static __attribute__((noinline)) void *builtin_alloc_other(struct heapd_heap *heap, uint32_t type,
							   size_t bytes)
{
	uint32_t first = type * HEAPD_SIZECLASS_TOTAL, sizeclass;

	if (!heap)
		return heap_missing(heap);
	if (bytes > HEAPD_SMALL_MAX)
		return large_alloc(heap, first + HEAPD_SIZECLASS_LARGE, bytes, HEAPD_PAGE_SIZE);
	sizeclass = heapd_sizeclass_of(bytes);
	if (unlikely(bytes <= SMALL))
		return class_alloc(heap, first + sizeclass);
	return class_alloc_sized(heap, first + sizeclass, heapd_sizeclass_size(sizeclass), false);
}

/*
 * The smallest ones have a way on which nothing is asked that is known: what they are cut into, and that such
 * slots are never supplied as clean (HEAPD_CLEAN_SLOT_MIN). No heap, a thread that is not attached or offline, and another
 * heap than the one it is online in are one question.
 */
static inline __attribute__((always_inline)) void *builtin_alloc(struct heapd_heap *heap, uint32_t type,
								 size_t bytes)
{
	if (unlikely(bytes - 1 >= SMALL || heap != heapd_here))
		return builtin_alloc_other(heap, type, bytes);
	uint32_t class = type * HEAPD_SIZECLASS_TOTAL + (uint32_t)((bytes - 1) >> 4);
	uint64_t elemsize = ((bytes - 1) | 15) + 1, popped = current_pop_rseq(heap, class, elemsize);

	if (unlikely(!popped))
		return class_alloc_slow(heap, class, elemsize);
	HEAPD_TSAN_ACQUIRE((void *)(uintptr_t)popped, elemsize);
	return slot_zero_small((void *)(uintptr_t)popped, elemsize, heap->zero_narrow);
}

void *heapd_alloc(heapd_heap *heap, size_t bytes)
{
	return builtin_alloc(heap, HEAPD_TYPE_ANY, bytes);
}

void *heapd_alloc_leaf(heapd_heap *heap, size_t bytes)
{
	return builtin_alloc(heap, HEAPD_TYPE_LEAF, bytes);
}

void *heapd_alloc_aligned(heapd_heap *heap, size_t bytes, size_t align)
{
	if (!heap)
		return heap_missing(heap);
	if (!align || align & (align - 1) || align > HEAPD_CHUNK_SIZE)
		return error_null(
			EINVAL, "heapd_alloc_aligned: alignment %zu is no power of two up to 2 MiB: use one",
			align);
	if (bytes <= HEAPD_SMALL_MAX - hardened_reserve(heap) && align <= HEAPD_PAGE_SIZE)
		for (uint32_t c = heapd_sizeclass_of(bytes + hardened_reserve(heap));
		     c < HEAPD_SIZECLASS_COUNT; c++)
			if (heapd_sizeclass_size(c) % align == 0)
				return class_alloc_exact(heap, HEAPD_TYPE_ANY * HEAPD_SIZECLASS_TOTAL + c);
	return large_alloc(heap, HEAPD_TYPE_ANY * HEAPD_SIZECLASS_TOTAL + HEAPD_SIZECLASS_LARGE,
			   bytes ? bytes : 1, align);
}

size_t heapd_alloc_many(heapd_heap *heap, size_t bytes, size_t n, void **out)
{
	size_t i = 0;
	bool away;

	if (thread_enter(heap, &away))
		while (i < n && (out[i] = heapd_alloc(heap, bytes)))
			i++;
	thread_leave(away);
	return i;
}

/* The class for `bytes` of the type in an array or flexible form, asked for once per process. */
static void *type_alloc_variant(heapd_type *type, enum heapd_kind kind, uint64_t bytes)
{
	uint32_t sizeclass = bytes > HEAPD_SMALL_MAX ? HEAPD_SIZECLASS_LARGE : heapd_sizeclass_of(bytes);
	int class = type_class(type, kind, sizeclass);

	if (class < 0)
		return NULL;
	if (sizeclass == HEAPD_SIZECLASS_LARGE)
		return large_alloc(type->heap, (uint32_t) class, bytes, HEAPD_PAGE_SIZE);
	return class_alloc(type->heap, (uint32_t) class);
}

void *heapd_type_alloc(heapd_type *type, size_t bytes)
{
	if (unlikely(!type))
		return error_null(EINVAL, "heapd_new: no type: look at what heapd_type_define() returned");
	if (unlikely(bytes != type->size))
		return error_null(
			EINVAL,
			"heapd_new: the type's objects have %u bytes, not %zu: use the structure that it was defined with",
			type->size, bytes);
	if (unlikely(bytes > HEAPD_SMALL_MAX))
		return large_alloc(type->heap, type->fixed_class, bytes, HEAPD_PAGE_SIZE);
	return class_alloc(type->heap, type->fixed_class);
}

void *heapd_type_alloc_array(heapd_type *type, size_t bytes, size_t n)
{
	uint64_t total;

	if (!type || bytes != type->size)
		return error_null(
			EINVAL,
			"heapd_new_array: no type, or its objects do not have %zu bytes: use the structure that it was defined with",
			bytes);
	if (__builtin_mul_overflow(bytes, n, &total))
		return error_null(
			ENOMEM,
			"heapd_new_array: %zu objects of %zu bytes are more than there is: allocate fewer", n,
			bytes);
	return type_alloc_variant(type, HEAPD_KIND_ARRAY, total ? total : 1);
}

void *heapd_type_alloc_flex(heapd_type *type, size_t bytes, size_t at, size_t elem, size_t n)
{
	uint64_t total;

	if (!type || !(type->flags & HEAPD_TYPE_FLEX) || bytes != type->size || at != type->flex_at ||
	    elem != type->flex_elem)
		return error_null(
			EINVAL,
			"heapd_new_flex: no flexible type, or another structure or array than it was defined with: use those");
	if (__builtin_mul_overflow(elem, n, &total) || __builtin_add_overflow(total, at, &total))
		return error_null(
			ENOMEM,
			"heapd_new_flex: %zu elements of %zu bytes are more than there is: allocate fewer", n,
			elem);
	return type_alloc_variant(type, HEAPD_KIND_FLEX, total < bytes ? bytes : total);
}
