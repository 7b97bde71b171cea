/* SPDX-License-Identifier: MIT */
/*
 * Owns the words of slots in a hardened heap, as far as clients write them (canary.h says what the last one means).
 *
 * The fast paths know nothing of it: for them such a heap has no CPUs (alloc_cpus, collect_cpus), as if there were nothing to be had
 * from sequences, so all comes to the slow ways, and those lead here.
 *
 * An object gets a slot with room for the canary: of the next size class, or of a type's own, which the daemon makes larger.
 * heapd_size() says what is left, so a program that goes by it never touches the canary.
 *
 * Every slot that is given out is looked at first. It is poison as a whole: who frees writes that, or the daemon when it takes back
 * or cuts. If it is not, somebody wrote there by an address that was no object's any more, or past the end of the object before it,
 * and may do so again: the slot is not given out, but left as an object that nothing leads to, for the next
 * cycle; where collection is off it stays away for good.
 *
 * What cannot be seen: writes to what was freed while a cycle was under way, until it ends, since such an object keeps its
 * words (free.c) and is overwritten by the daemon only; writes to what has gone back as whole pages, as large objects do at once;
 * writes that skip the canary; reads.
 *
 * A fork changes nothing: the child has the same heap at the same addresses, and a slot that another thread of the
 * parent was freeing just then is in that thread's hands, not in the child's. Who dies in here leaves words that canary.h allows for.
 */
#include "hardened.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "current.h"
#include "heapd/mutant.h"
#include "refill.h"
#include "report.h"
#include "thread.h"

static uint64_t *last_word(const struct place *place)
{
	return (uint64_t *)(uintptr_t)(place->start + place->span->elemsize - HEAPD_CANARY_BYTES);
}

static uint64_t canary_of(const struct heapd_heap *heap, uint64_t slot)
{
	return heapd_canary(heap->t.directory->id, slot);
}

/* One sentence for the program, and one for the counts. */
static void overwritten(struct heapd_heap *heap, const char *text)
{
	counter_add(&current_counters(heap)->overwrites, 1);
	report_send(heap, HEAPD_REPORT_OVERWRITTEN, text);
}

static const char *type_name(const struct heapd_heap *heap, uint32_t class)
{
	return heap->t.types[heap->t.classes[class].type].name;
}

static void free_slot_overwritten(struct heapd_heap *heap, uint32_t class, uint64_t slot, uint64_t at,
				  uint64_t word)
{
	char text[400];

	snprintf(
		text, sizeof(text),
		"heap '%s': free memory at %#llx (%u bytes, of type '%s') was overwritten at offset %llu, which holds %#llx: by way of a pointer to what was freed, or past the end of the object before it; it is not given out",
		heap->name, (unsigned long long)slot, heap->t.classes[class].slot_size,
		type_name(heap, class), (unsigned long long)at, (unsigned long long)word);
	overwritten(heap, text);
}

/* The first word that is no poison, or n. */
static uint64_t poison_end(const uint64_t *words, uint64_t n)
{
	uint64_t i = 0;

	while (i < n && HEAPD_READ_ONCE(words[i]) == HEAPD_POISON_WORD)
		i++;
	return i;
}

/* The canary first: what dies before the rest is zeroed is an object that nobody knows. False: it was overwritten. */
static bool slot_open(struct heapd_heap *heap, uint32_t class, uint64_t slot, uint64_t bytes)
{
	uint64_t *words = (uint64_t *)(uintptr_t)slot, n = bytes / 8, at = poison_end(words, n),
		 word = at < n ? HEAPD_READ_ONCE(words[at]) : 0;

	HEAPD_WRITE_ONCE(words[n - 1], canary_of(heap, slot));
	__asm__ volatile("" ::: "memory");
	memset(words, 0, bytes - HEAPD_CANARY_BYTES);
	if (likely(at == n))
		return true;
	free_slot_overwritten(heap, class, slot, at * 8, word);
	return false;
}

static uint64_t slot_pop(struct heapd_heap *heap, uint32_t class, uint64_t bytes)
{
	uint64_t popped = current_pop(heap, class, bytes);

	if (!popped && current_turn(heap, class))
		popped = current_pop(heap, class, bytes);
	return popped ? popped : refill_pop(heap, class, bytes, true);
}

static void *alloc_online(struct heapd_heap *heap, uint32_t class, uint64_t bytes)
{
	uint64_t slot;

	do {
		slot = slot_pop(heap, class, bytes) & ~HEAPD_CURRENT_ZEROED;
		if (slot)
			HEAPD_TSAN_ACQUIRE((void *)(uintptr_t)slot, bytes);
	} while (slot && !slot_open(heap, class, slot, bytes));
	return (void *)(uintptr_t)slot;
}

void *hardened_alloc_exact(struct heapd_heap *heap, uint32_t class)
{
	uint64_t bytes = heap->t.classes[class].slot_size;
	void *object = NULL;
	bool away;

	/* What has no room for a canary in the largest slots. */
	if (!bytes)
		return large_alloc(heap, class, HEAPD_SMALL_MAX, HEAPD_PAGE_SIZE);
	if (thread_enter(heap, &away))
		object = alloc_online(heap, class, bytes);
	thread_leave(away);
	return object;
}

void *hardened_alloc(struct heapd_heap *heap, uint32_t class)
{
	/* Cells use one word; classes of the other built-in types stand in the order of their sizes. */
	bool next = class < HEAPD_CLASS_BUILTIN && class != HEAPD_CLASS_WEAK;

	return hardened_alloc_exact(heap, class + next);
}

static void end_overwritten(struct heapd_heap *heap, const struct place *place, uint64_t word)
{
	char text[400];

	snprintf(
		text, sizeof(text),
		"heapd_free(%#llx): the end of this object (%llu bytes, of type '%s') was overwritten: %#llx stands behind it, by something that wrote past it; it is freed",
		(unsigned long long)place->start,
		(unsigned long long)(place->span->elemsize - HEAPD_CANARY_BYTES),
		type_name(heap, place->span->class), (unsigned long long)word);
	overwritten(heap, text);
}

bool hardened_check(struct heapd_heap *heap, const struct place *place, uint64_t *seen)
{
	*seen = HEAPD_READ_ONCE(*last_word(place));
	if (likely(*seen == canary_of(heap, place->start)))
		return true;
	if (*seen == HEAPD_POISON_WORD || *seen == heapd_canary_freeing(heap->t.directory->id, place->start))
		return false;
	end_overwritten(heap, place, *seen);
	/* So that the daemon, which may take it back, does not tell of it again. */
	if (__atomic_compare_exchange_n(last_word(place), seen, canary_of(heap, place->start), false,
					__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		*seen = canary_of(heap, place->start);
	return true;
}

static bool claim(const struct heapd_heap *heap, const struct place *place, uint64_t seen)
{
	uint64_t freeing = heapd_canary_freeing(heap->t.directory->id, place->start);

	if (MUTANT(unclaimed)) {
		HEAPD_WRITE_ONCE(*last_word(place), freeing);
		return true;
	}
	return __atomic_compare_exchange_n(last_word(place), &seen, freeing, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

bool hardened_claim(const struct heapd_heap *heap, const struct place *place, uint64_t seen, bool poison)
{
	uint64_t *words = (uint64_t *)(uintptr_t)place->start, *last = last_word(place);

	if (!claim(heap, place, seen))
		return false;
	if (!poison || !place->span->magic) /* large: its pages are given back */
		return true;
	while (words < last)
		HEAPD_WRITE_ONCE(*words++, HEAPD_POISON_WORD);
	HEAPD_STORE_RELEASE(last, HEAPD_POISON_WORD);
	return true;
}
