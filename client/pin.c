/* SPDX-License-Identifier: MIT */
/*
 * Pins: words of the session that are roots of this process. Their addresses may go anywhere, since
 * the daemon finds the word where it stands.
 *
 * Which words are free is known to this process alone: a stack of their numbers, changed by
 * compare-and-swap, with a count of changes against ABA. A fork in the midst of a push or pop copies
 * it whole, at worst without the one word that another thread was about to use. A word's number in
 * `pin_next` says PIN_USED while it is a pin, so that ending one twice is seen.
 *
 * A pin is a field like any other: written, and cleared when it ends, through the barrier.
 */
#include "pin.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "heapd/session.h"
#include "room.h"
#include "thread.h"

#define PIN_USED UINT32_MAX

int pins_init(struct heapd_heap *heap)
{
	void *p = mmap(NULL, HEAPD_PIN_MAX * sizeof(uint32_t), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return error_set(errno, "heap '%s': no memory for its pins: %s: raise this process's limits",
				 heap->name, strerror(errno));
	heap->pin_next = (uint32_t *)p;
	return 0;
}

void pins_free(struct heapd_heap *heap)
{
	if (heap->pin_next)
		munmap(heap->pin_next, HEAPD_PIN_MAX * sizeof(uint32_t));
	heap->pin_next = NULL;
}

static void **pin_word(struct heapd_heap *heap, uint32_t i)
{
	char *pins = (char *)heap->session + HEAPD_SESSION_PIN_AT;

	return (void **)(void *)pins + i;
}

/* A free pin's number from the stack, or UINT32_MAX. The stack's top is 1 + the number. */
static uint32_t pin_pop(struct heapd_heap *heap)
{
	uint64_t top = atomic_load_explicit(&heap->pin_free, memory_order_acquire), next;
	uint32_t i;

	do {
		if (!(uint32_t)top)
			return UINT32_MAX;
		i = (uint32_t)top - 1;
		next = ((top >> 32) + 1) << 32 | HEAPD_READ_ONCE(heap->pin_next[i]);
	} while (!atomic_compare_exchange_weak_explicit(&heap->pin_free, &top, next, memory_order_acq_rel,
							memory_order_acquire));
	HEAPD_WRITE_ONCE(heap->pin_next[i], PIN_USED);
	return i;
}

static void pin_push(struct heapd_heap *heap, uint32_t i)
{
	uint64_t top = atomic_load_explicit(&heap->pin_free, memory_order_relaxed), next;

	do {
		HEAPD_WRITE_ONCE(heap->pin_next[i], (uint32_t)top);
		next = ((top >> 32) + 1) << 32 | (i + 1u);
	} while (!atomic_compare_exchange_weak_explicit(&heap->pin_free, &top, next, memory_order_release,
							memory_order_relaxed));
}

/* With heap->lock held; the daemon looks at the words below npins. */
static int64_t pin_take(struct heapd_heap *heap)
{
	uint32_t i = heap->pins;

	if (i == HEAPD_PIN_MAX)
		return error_set(ENOSPC, "heap '%s': this process has %u pins already: heapd_unpin() some",
				 heap->name, HEAPD_PIN_MAX);
	HEAPD_WRITE_ONCE(heap->pins, i + 1);
	HEAPD_WRITE_ONCE(heap->pin_next[i], PIN_USED);
	HEAPD_STORE_RELEASE(&heap->session->npins, heap->pins);
	return i;
}

/* One that was never used, or -errno. Others may take what was asked for, so it is asked again. */
static int64_t pin_fresh(struct heapd_heap *heap)
{
	for (;;) {
		pthread_mutex_lock(&heap->lock);
		uint32_t i = heap->pins;
		bool ready = i == HEAPD_PIN_MAX || i < room_of(heap, HEAPD_ROOM_PINS);
		int64_t pin = ready ? pin_take(heap) : 0;
		pthread_mutex_unlock(&heap->lock);
		if (ready)
			return pin;
		int r = room_ask(heap, HEAPD_ROOM_PINS, i + 1);
		if (r < 0)
			return r;
	}
}

void *heapd_pin_sym(heapd_heap *heap, const void *p)
{
	if (!thread_self(heap))
		return NULL;
	int64_t i = pin_pop(heap);
	if (i == UINT32_MAX)
		i = pin_fresh(heap);
	if (i < 0)
		return NULL;
	heapd_store_sym(pin_word(heap, (uint32_t)i), (void *)(uintptr_t)p);
	return pin_word(heap, (uint32_t)i);
}

/* An offline thread is online for the time between reading the field and the pin. */
void *heapd_pin_field_sym(heapd_heap *heap, const void *field)
{
	bool away;

	if (!thread_enter(heap, &away))
		return NULL;
	void *p = heapd_load_sym(field);
	void *pin = heapd_pin_sym(heap, p);
	heapd_keep(p);
	thread_leave(away);
	return pin;
}

/* The number of a pin that has not ended, which ends by this; -EINVAL for any other address. */
static int64_t pin_end(struct heapd_heap *heap, const void *pin)
{
	uint64_t offset = (uint64_t)(uintptr_t)pin - (uint64_t)(uintptr_t)pin_word(heap, 0);
	uint32_t used = PIN_USED;

	if (offset % 8 || offset / 8 >= HEAPD_READ_ONCE(heap->pins))
		return error_set(EINVAL, "%p is no pin of this process: give what heapd_pin() returned", pin);
	if (!__atomic_compare_exchange_n(&heap->pin_next[offset / 8], &used, 0, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return error_set(EINVAL, "%p was a pin, and has ended already: end each pin once", pin);
	return (int64_t)(offset / 8);
}

static void pin_clear(struct heapd_heap *heap, uint32_t i)
{
	heapd_store_sym(pin_word(heap, i), NULL);
	pin_push(heap, i);
}

int heapd_unpin(void *pin)
{
	struct heapd_heap *heap = heapd_process;

	if (!pin)
		return 0;
	if (!thread_self(heap))
		return -errno;
	int64_t i = pin_end(heap, pin);
	if (i < 0)
		return (int)i;
	pin_clear(heap, (uint32_t)i);
	return 0;
}

void *heapd_take_sym(void *pin)
{
	struct heapd_heap *heap = heapd_process;

	if (!thread_self(heap))
		return NULL;
	int64_t i = pin ? pin_end(heap, pin)
			: error_set(EINVAL, "heapd_take: no pin: look at what heapd_pin() returned");
	if (i < 0)
		return NULL;
	void *p = heapd_load_sym(pin);
	pin_clear(heap, (uint32_t)i);
	heapd_keep(p);
	return p;
}
