/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; writes to free slots, as poison.c does, and says what it finds overwritten. (heapd/canary.h has the meaning of a
 * slot's last word.)
 *
 * A slot is poison as a whole before the ledger has it, and before its span is published, never after: a daemon that dies in
 * between leaves a slot that is out, and nobody's, for the next cycle, and none that is free and is not poison. So the
 * client that is given it may take for overwritten what it finds so.
 *
 * A slot comes back in one of three ways. Freed, and poisoned by its client; or never used: all of it has to be poison still. Freed
 * while a cycle was under way, or collected: its canary has to stand, or who freed it has said so there. Left by a client that died over it: nothing is known, and
 * nothing said. The words are the clients' to write at any time, so each is read once, and nothing follows from one but a line
 * in the log, a count, and poison.
 */
#include "hardened.h"

#include <inttypes.h>

#include "events.h"
#include "heapd/canary.h"
#include "heapd/slab.h"

struct closing {
	struct heap *heap;
	const struct heapd_span *span;
	uint64_t slot; /* its address */
	uint64_t *words;
	uint64_t n;
};

static uint64_t *words_at(uint64_t address)
{
	return (uint64_t *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr) */
}

static void words_fill(uint64_t *words, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		HEAPD_WRITE_ONCE(words[i], HEAPD_POISON_WORD);
}

static uint64_t canary_of(const struct heap *heap, uint64_t slot)
{
	return heapd_canary(heap->t.directory->id, slot);
}

void hardened_cut(struct heap *heap, uint32_t first, const struct heapd_span *span)
{
	uint64_t at = heap->t.base + ((uint64_t)first << HEAPD_PAGE_SHIFT);

	if (span->magic)
		words_fill(words_at(at), span->nslots * span->elemsize / 8);
	else
		HEAPD_WRITE_ONCE(words_at(at)[span->elemsize / 8 - 1], canary_of(heap, at));
}

static void tell(const struct closing *c, const char *what, uint64_t at, uint64_t word)
{
	struct heap *heap = c->heap;
	struct journal_event event = {
		.id = EVENT_OVERWRITTEN, .heap = heap->name, .address = c->slot, .has_count = true, .count = 1
	};

	HEAPD_COUNT(heap->t.directory->stats.overwrites, 1u);
	log_event(heap->log, &heap->overwritten, LOG_WARNING, &event,
		  "heap '%s': %s 0x%" PRIx64 " (%" PRIu64
		  " bytes, of type '%s') was overwritten at offset %" PRIu64 ", which holds 0x%" PRIx64,
		  heap->name, what, c->slot, c->span->elemsize - HEAPD_CANARY_BYTES,
		  heap->t.types[heap->t.classes[c->span->class].type].name, at, word);
	events_fault(heap);
}

/* Of a slot that says that it is poison. */
static void poison_check(const struct closing *c)
{
	for (uint64_t i = 0; i < c->n - 1; i++) {
		uint64_t word = HEAPD_READ_ONCE(c->words[i]);

		if (word == HEAPD_POISON_WORD)
			continue;
		tell(c, "free memory at", i * 8, word);
		words_fill(c->words, c->n);
		return;
	}
}

static void slot_close(const struct closing *c)
{
	uint64_t last = HEAPD_READ_ONCE(c->words[c->n - 1]);

	if (last == HEAPD_POISON_WORD && c->span->magic) {
		poison_check(c);
		return;
	}
	if (last != canary_of(c->heap, c->slot) &&
	    last != heapd_canary_freeing(c->heap->t.directory->id, c->slot))
		tell(c, "the end of the object at", (c->n - 1) * 8, last);
	if (c->span->magic)
		words_fill(c->words, c->n);
}

void hardened_close(struct heap *heap, uint32_t first, uint32_t k, uint64_t slots)
{
	const struct heapd_span *span = &heap->t.spans[first];
	uint64_t slab = heap->t.base + ((uint64_t)first << HEAPD_PAGE_SHIFT) + heapd_slab_offset(span, k);
	struct closing c = { .heap = heap, .span = span, .n = span->elemsize / 8 };

	for (; slots; slots &= slots - 1) {
		c.slot = slab + (uint64_t)__builtin_ctzll(slots) * span->elemsize;
		c.words = words_at(c.slot);
		slot_close(&c);
	}
}
