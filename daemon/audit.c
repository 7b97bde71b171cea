/* SPDX-License-Identifier: MIT */
/*
 * Owns what was told of broken rules.
 *
 * Why an object that is found here was hidden by a plain store. When nothing is grey and every barrier ring was read,
 * all that roots lead to is marked, or held, or was made since (cycle.c); and nobody can make it otherwise: whoever stores a
 * pointer had it from an object that was reachable. The exact trace finds only what is reachable. So what it finds white was
 * hidden from the marker: the last pointer to it that the marker would have seen was overwritten without a word. It
 * becomes grey and is followed, so that the program goes on. The trace misses what a plain store moves behind its back, as the
 * marker did: a program that does little else may still lose an object.
 *
 * All of it holds heap->lock for as long as a naive trace takes: for debugging, and for nothing else.
 */
#include "audit.h"

#include <inttypes.h>
#include <stdio.h>

#include "clients.h"
#include "marks.h"
#include "path.h"

void audit_init(struct audit *audit)
{
	*audit = (struct audit){ .lines.what = "broken rules" };
}

void audit_deinit(struct audit *audit, struct heap *heap)
{
	log_limit_flush(heap->log, &audit->lines, LOG_WARNING);
}

static uint32_t wanted(const struct heap *heap)
{
	uint32_t flags = 0;

	for (unsigned i = 0; i < heap->clients->n; i++)
		if (heap->clients->slots[i].live)
			flags |= heap->clients->slots[i].debug;
	return flags;
}

/* True the first time. */
static bool is_news(struct audit *audit, uint32_t flag, uint32_t type, uint64_t word)
{
	struct audit_field field = { flag, type, (uint32_t)word };

	for (unsigned i = 0; i < audit->ntold; i++)
		if (audit->told[i].flag == field.flag && audit->told[i].type == field.type &&
		    audit->told[i].word == field.word)
			return false;
	if (audit->ntold == AUDIT_FIELDS)
		return false;
	audit->told[audit->ntold++] = field;
	return true;
}

/* To the log, and to the clients that asked. */
static void tell(struct audit *audit, struct heap *heap, uint32_t flag, const char *text)
{
	struct heapd_message note = { .op = HEAPD_NOTE_REPORT };

	snprintf(note.report, sizeof(note.report), "heap '%s': %s", heap->name, text);
	log_limited(heap->log, &audit->lines, LOG_WARNING, "%s", note.report);
	clients_notify_debug(heap, flag, &note);
}

/* Types --------------------------------------------------------------------------------------------------------- */

/* Which word of its type a word of an object is: all elements of an array are one, and of a flexible array. */
static uint64_t type_word(const struct heap *heap, const struct reach_slot *slot, uint64_t word)
{
	const struct heapd_type_record *type = reach_type(heap, slot);
	const struct heapd_class *class = &heap->t.classes[heap->t.spans[slot->first].class];

	if (class->kind == HEAPD_KIND_ARRAY && type->size % 8 == 0 && type->size)
		return word % (type->size / 8);
	if (class->kind == HEAPD_KIND_FLEX && word > type->flex_at / 8)
		return type->flex_at / 8;
	return word;
}

static void tell_type(struct audit *audit, struct heap *heap, const struct reach_slot *slot, uint64_t word,
		      const struct reach_slot *to)
{
	const struct heapd_type_record *type = reach_type(heap, slot);
	uint64_t at = type_word(heap, slot, word);
	char text[400];

	if (!is_news(audit, HEAPD_HELLO_TYPES, heap->t.classes[heap->t.spans[slot->first].class].type, at))
		return;
	snprintf(text, sizeof(text),
		 "type '%s' does not list offset %" PRIu64 " as a pointer, and 0x%" PRIx64
		 " has the address of %s 0x%" PRIx64
		 " there: list the field, or the object may be taken back under it",
		 type->name, at * 8, heap->t.base + slot->start, reach_type(heap, to)->name,
		 heap->t.base + to->start);
	tell(audit, heap, HEAPD_HELLO_TYPES, text);
}

static void look_at_words(struct audit *audit, struct heap *heap, const struct reach_slot *slot)
{
	uint64_t words = reach_words(heap, slot);
	struct reach_slot to;

	/* A weak cell has an address, and is not to be followed. */
	if (reach_type(heap, slot)->flags & HEAPD_TYPE_SCAN ||
	    heap->t.classes[heap->t.spans[slot->first].class].type == HEAPD_TYPE_WEAK)
		return;
	for (uint64_t i = 0; i < words; i++) {
		uint64_t word = reach_read(heap, slot, i);

		beat_step(&heap->walk_beat, i + 1);
		if (reach_find(heap, word, &to) && heap->t.base + to.start == word &&
		    reach_is_out(heap, &to) && reach_field(heap, slot, i) == REACH_NO_POINTER)
			tell_type(audit, heap, slot, i, &to);
	}
}

static void look_at_types(struct audit *audit, const struct reach *reach)
{
	for (uint64_t i = 0; i < reach->n; i++) {
		struct reach_slot slot = reach_slot_at(reach->heap, reach->steps[i].start);

		beat_step(&reach->heap->walk_beat, i);
		if (reach_is_out(reach->heap, &slot))
			look_at_words(audit, reach->heap, &slot);
	}
}

/* The barrier ----------------------------------------------------------------------------------------------------- */

static bool is_hidden(const struct heap *heap, uint64_t start)
{
	struct reach_slot slot = reach_slot_at(heap, start);
	uint64_t known = HEAPD_READ_ONCE(heap->marks->mark[slot.slab]) | heap->marks->hold[slot.slab];

	return reach_is_out(heap, &slot) && !(known >> slot.bit & 1);
}

static void tell_hidden(struct audit *audit, const struct reach *reach, const struct reach_step *step)
{
	struct heap *heap = reach->heap;
	struct reach_slot slot = reach_slot_at(heap, step->start), from = slot;
	uint64_t word = 0;
	char where[200], text[400];

	if (step->from < REACH_ROOT_MIN) {
		from = reach_slot_at(heap, reach->steps[step->from].start);
		word = type_word(heap, &from, step->word);
	}
	if (!is_news(audit, HEAPD_HELLO_BARRIER, heap->t.classes[heap->t.spans[from.first].class].type, word))
		return;
	path_write_last(reach, step, where, sizeof(where));
	snprintf(text, sizeof(text),
		 "%s 0x%" PRIx64
		 " was hidden from the collector: %.150s leads to it, and was stored, or what led to it "
		 "before was overwritten, without heapd_store(); it is kept this time",
		 reach_type(heap, &slot)->name, heap->t.base + step->start, where);
	tell(audit, heap, HEAPD_HELLO_BARRIER, text);
}

/* Of those that hang together only the first is told of; where it leads was hidden with it. */
static uint64_t look_for_hidden(struct audit *audit, const struct reach *reach, struct marker *marker)
{
	struct heap *heap = reach->heap;
	uint64_t n = 0;

	for (uint64_t i = 0; i < reach->n; i++) {
		const struct reach_step *step = &reach->steps[i];

		beat_step(&heap->walk_beat, i);
		if (!is_hidden(heap, step->start))
			continue;
		n++;
		if (step->from >= REACH_ROOT_MIN || !is_hidden(heap, reach->steps[step->from].start))
			tell_hidden(audit, reach, step);
	}
	for (uint64_t i = 0; n && i < reach->n; i++) {
		beat_step(&heap->walk_beat, i);
		marker_shade(marker, heap->t.base + reach->steps[i].start);
	}
	return n;
}

uint64_t audit_run(struct audit *audit, struct heap *heap, struct marker *marker)
{
	struct reach reach;
	uint32_t flags;
	uint64_t n = 0;

	heap_lock(heap);
	flags = wanted(heap) & (HEAPD_HELLO_TYPES | HEAPD_HELLO_BARRIER);
	if (flags && reach_init(&reach, heap, NULL) == 0) {
		reach_add_exact(&reach);
		reach_run(&reach, REACH_EVERYTHING);
		if (flags & HEAPD_HELLO_TYPES)
			look_at_types(audit, &reach);
		if (flags & HEAPD_HELLO_BARRIER)
			n = look_for_hidden(audit, &reach, marker);
		reach_deinit(&reach);
	}
	heap_unlock(heap);
	return n;
}

void audit_cycle_ended(struct heap *heap)
{
	static const struct heapd_message note = { .op = HEAPD_NOTE_CYCLE };

	heap_lock(heap);
	if (wanted(heap) & HEAPD_HELLO_DANGLING)
		clients_notify_debug(heap, HEAPD_HELLO_DANGLING, &note);
	heap_unlock(heap);
}
