/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; follows pointers from the roots, breadth first, one word at a time.
 *
 * Right because it is as simple as the definition: a list of objects, each found once (`seen`), looked at in the order in
 * which they were found. The list is both the queue and the way back: a step knows the one that led to it. A slot is
 * found by dividing, a field by asking the type's record for that one word.
 *
 * While clients run, a pointer may move from where it was not looked at yet to where it was: what is found was
 * reachable when it was found, what is not found need not be unreachable. With all clients at rest both are exact.
 */
#include "reach.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "clients.h"
#include "hardened.h"
#include "heapd/atomic.h"
#include "marks.h"
#include "roots.h"
#include "supply.h"

#define STEPS_FIRST 1024u
#define PIECE_WORDS 512u  /* of a session, read at once */
#define SHOWN_EACH  1024u /* steps */
#define WAY_LOOKED  100u  /* steps of one way, by reach_stands() */

int reach_init(struct reach *reach, struct heap *heap, const uint64_t *closed)
{
	*reach = (struct reach){ .heap = heap, .closed = closed, .seen_bytes = heap->geometry.slabs * 8 };
	reach->seen = mmap(NULL, reach->seen_bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reach->seen != MAP_FAILED)
		return 0;
	reach->seen = NULL;
	return -ENOMEM;
}

void reach_deinit(struct reach *reach)
{
	if (reach->heap)
		HEAPD_WRITE_ONCE(reach->heap->t.directory->stats.walked, 0);
	if (reach->seen)
		munmap(reach->seen, reach->seen_bytes);
	free(reach->steps);
	*reach = (struct reach){ 0 };
}

/* Slots and what is in them --------------------------------------------------------------------------------------- */

bool reach_find(const struct heap *heap, uint64_t word, struct reach_slot *slot)
{
	uint64_t offset = word - heap->t.base, index = 0;
	const struct heapd_span *span;
	uint32_t owner;

	if (word < heap->t.base || offset >= heap->t.size)
		return false;
	owner = heap->t.page_span[offset / HEAPD_PAGE_SIZE];
	if (!owner)
		return false;
	span = &heap->t.spans[owner - 1];
	offset -= (owner - 1ul) * HEAPD_PAGE_SIZE;
	if (span->nslots > 1)
		index = offset / span->elemsize;
	if (index >= span->nslots)
		return false;
	*slot = (struct reach_slot){
		.start = (owner - 1ul) * HEAPD_PAGE_SIZE + index * span->elemsize,
		.first = owner - 1,
		.slab = span->slab0 + (uint32_t)index / span->slab_slots,
		.bit = (uint32_t)index % span->slab_slots,
	};
	return true;
}

struct reach_slot reach_slot_at(const struct heap *heap, uint64_t start)
{
	struct reach_slot slot = { 0 };

	reach_find(heap, heap->t.base + start, &slot);
	return slot;
}

bool reach_is_out(const struct heap *heap, const struct reach_slot *slot)
{
	return heap->t.out[slot->slab] >> slot->bit & 1;
}

bool reach_was_seen(const struct reach *reach, const struct reach_slot *slot)
{
	return reach->seen[slot->slab] >> slot->bit & 1;
}

static const struct heapd_class *class_of(const struct heap *heap, const struct reach_slot *slot)
{
	return &heap->t.classes[heap->t.spans[slot->first].class];
}

const struct heapd_type_record *reach_type(const struct heap *heap, const struct reach_slot *slot)
{
	return &heap->t.types[class_of(heap, slot)->type];
}

uint64_t reach_words(const struct heap *heap, const struct reach_slot *slot)
{
	return heap->t.spans[slot->first].elemsize / 8 - hardened_words(heap);
}

uint64_t reach_read(const struct heap *heap, const struct reach_slot *slot, uint64_t word)
{
	/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
	return HEAPD_READ_ONCE(((const uint64_t *)(uintptr_t)(heap->t.base + slot->start))[word]);
}

/* Word i of the type's map. */
static bool is_listed(const struct heap *heap, const struct heapd_type_record *type, uint64_t i)
{
	return i < type->map_bits && heap->t.maps[type->map_word + i / 64] >> (i % 64) & 1;
}

/* Elements that are no whole words long have their fields anywhere. */
static enum reach_field array_field(const struct heap *heap, const struct heapd_type_record *type,
				    uint64_t word, uint64_t words)
{
	uint64_t period = type->size / 8;

	if (type->size % 8) {
		for (uint64_t i = 0; i < type->map_bits; i++)
			if (is_listed(heap, type, i))
				return REACH_PERHAPS;
		return REACH_NO_POINTER;
	}
	if (word >= words / period * period)
		return REACH_NO_POINTER;
	return is_listed(heap, type, word % period) ? REACH_POINTER : REACH_NO_POINTER;
}

enum reach_field reach_field(const struct heap *heap, const struct reach_slot *slot, uint64_t word)
{
	const struct heapd_type_record *type = reach_type(heap, slot);
	uint32_t kind = class_of(heap, slot)->kind;

	if (type->flags & HEAPD_TYPE_NOSCAN)
		return REACH_NO_POINTER;
	if (type->flags & HEAPD_TYPE_SCAN)
		return REACH_PERHAPS;
	if (kind == HEAPD_KIND_ARRAY)
		return array_field(heap, type, word, reach_words(heap, slot));
	if (kind == HEAPD_KIND_FLEX && type->flags & HEAPD_TYPE_FLEX_PTRS && word >= type->flex_at / 8)
		return REACH_POINTER;
	return is_listed(heap, type, word) ? REACH_POINTER : REACH_NO_POINTER;
}

/* Following ------------------------------------------------------------------------------------------------------- */

static bool steps_room(struct reach *reach)
{
	uint64_t room = reach->room ? 2 * reach->room : STEPS_FIRST;
	struct reach_step *steps;

	if (reach->n < reach->room)
		return true;
	steps = room < REACH_ROOT_MIN ? reallocarray(reach->steps, room, sizeof(*steps)) : NULL;
	if (!steps) {
		reach->failed = true;
		return false;
	}
	reach->steps = steps;
	reach->room = room;
	return true;
}

static bool holds_object(const struct reach *reach, const struct reach_slot *slot)
{
	return reach_is_out(reach->heap, slot) &&
	       !(reach->closed && reach->closed[slot->slab] >> slot->bit & 1);
}

static void note_lost(struct reach *reach, uint64_t word, uint32_t from, uint32_t at)
{
	if (word - reach->heap->t.base >= reach->heap->t.size)
		return;
	if (!reach->lost++)
		reach->lost_first =
			(struct reach_step){ .start = word - reach->heap->t.base, .from = from, .word = at };
}

/* What may be no pointer leads to objects only; what is one also leads to where none is, which is a finding. */
static void follow(struct reach *reach, uint64_t word, bool exact, uint32_t from, uint32_t at)
{
	struct reach_slot slot;
	bool object;

	if (!reach_find(reach->heap, word, &slot)) {
		if (exact)
			note_lost(reach, word, from, at);
		return;
	}
	object = holds_object(reach, &slot);
	if (reach_was_seen(reach, &slot) || (!exact && !object) || !steps_room(reach))
		return;
	reach->seen[slot.slab] |= 1ull << slot.bit;
	reach->steps[reach->n++] = (struct reach_step){ .start = slot.start, .from = from, .word = at };
	if (!object)
		return;
	reach->objects++;
	reach->bytes += reach->heap->t.spans[slot.first].elemsize;
}

static void look_into(struct reach *reach, uint64_t step)
{
	struct reach_slot slot = reach_slot_at(reach->heap, reach->steps[step].start);
	uint64_t words = reach_words(reach->heap, &slot);

	if (!holds_object(reach, &slot) || reach_type(reach->heap, &slot)->flags & HEAPD_TYPE_NOSCAN)
		return;
	for (uint64_t i = 0; i < words; i++) {
		enum reach_field field = reach_field(reach->heap, &slot, i);

		beat_step(&reach->heap->walk_beat, i + 1);
		if (field != REACH_NO_POINTER)
			follow(reach, reach_read(reach->heap, &slot, i), field == REACH_POINTER,
			       (uint32_t)step, (uint32_t)i);
	}
}

/* For whoever waits for the end of it. */
static void walk_show(const struct reach *reach)
{
	if (reach->done % SHOWN_EACH == 0)
		HEAPD_WRITE_ONCE(reach->heap->t.directory->stats.walked, reach->done);
}

uint64_t reach_run(struct reach *reach, uint64_t until)
{
	for (; reach->done < reach->n; reach->done++) {
		beat_step(&reach->heap->walk_beat, reach->done);
		walk_show(reach);
		if (reach->steps[reach->done].start == until)
			return reach->done;
		look_into(reach, reach->done);
	}
	return UINT64_MAX;
}

/* Roots ----------------------------------------------------------------------------------------------------------- */

static void add(struct reach *reach, uint64_t word, enum reach_source source, uint32_t number)
{
	follow(reach, word, source < REACH_RANGE, REACH_ROOT_MIN + (uint32_t)source, number);
}

static void add_ticket(void *arg, uint64_t object)
{
	add(arg, object, REACH_TICKET, 0);
}

/* From an offset of the session on. */
static void add_words(struct reach *reach, const struct client *client, uint64_t at, uint64_t n,
		      enum reach_source source)
{
	uint64_t words[PIECE_WORDS], piece;

	for (; n; n -= piece, at += piece * 8) {
		piece = n < PIECE_WORDS ? n : PIECE_WORDS;
		if (client_read(client, at, words, piece) < 0)
			return;
		for (uint64_t i = 0; i < piece; i++)
			add(reach, words[i] - (source == REACH_PAST), source, (uint32_t)client->pid);
	}
}

static void add_pins(struct reach *reach, const struct client *client)
{
	add_words(reach, client, HEAPD_SESSION_PIN_AT, client_pins(client), REACH_PIN);
	add(reach, client->in_flight, REACH_FLIGHT, (uint32_t)client->pid);
}

/* An object that has died and is of a watched type (marks->dying). */
static void add_dead(struct reach *reach)
{
	const struct heap *heap = reach->heap;
	uint64_t n = heap->marks ? heap->supply->spans.numbers.high * HEAPD_SLAB_UNIT : 0;

	for (uint32_t slab = 0; slab < n; slab++) {
		uint64_t bits = heap->marks->dying[slab];
		uint32_t first;

		if (!bits || !ledger_span_of(&heap->supply->ledger, slab, &first))
			continue;
		const struct heapd_span *span = &heap->t.spans[first];
		uint64_t start = heap->t.base + (uint64_t)first * HEAPD_PAGE_SIZE +
				 heapd_slab_offset(span, slab - span->slab0);

		for (; bits; bits &= bits - 1)
			add(reach, start + (uint64_t)__builtin_ctzll(bits) * span->elemsize, REACH_DEAD, 0);
	}
}

/*
 * Named ones first: those that are found again among the tickets are seen by then. The pins of a process that is gone hold
 * until the cycle under way ends, but nobody reaches anything by them any more.
 */
void reach_add_exact(struct reach *reach)
{
	struct heap *heap = reach->heap;
	uint32_t n = HEAPD_LOAD_ACQUIRE(&heap->t.directory->nroots);

	for (uint32_t i = 0; i < n; i++)
		add(reach, HEAPD_READ_ONCE(heap->t.roots[i].object), REACH_NAMED, i);
	if (heap->roots)
		roots_look(heap, add_ticket, reach);
	add_dead(reach);
	for (unsigned i = 0; i < heap->clients->n; i++)
		if (heap->clients->slots[i].live)
			add_pins(reach, &heap->clients->slots[i]);
}

/* Of the cycle whose number stands, of the one before, or of a forked child's parent. */
static bool is_recent(const struct heap *heap, uint32_t cycle)
{
	uint32_t now = heapd_now_cycle(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now));

	return cycle && (cycle == now || cycle == now - 1 || cycle == HEAPD_PUBLISHED_STANDING);
}

static uint64_t published(uint64_t count, uint64_t bytes)
{
	return count < bytes / 8 ? count : bytes / 8;
}

/* A word of a stack stands for the byte before it, too. */
static void add_stacks(struct reach *reach, const struct client *client, enum reach_source source)
{
	uint32_t n;
	struct heapd_thread *threads = client_threads(client, &n);

	for (uint32_t t = 0; t < n; t++)
		if (is_recent(reach->heap, HEAPD_LOAD_ACQUIRE(&threads[t].published_cycle)))
			add_words(
				reach, client, HEAPD_SESSION_PUBLISHED_AT + t * HEAPD_PUBLISHED_BYTES,
				published(HEAPD_READ_ONCE(threads[t].published_count), HEAPD_PUBLISHED_BYTES),
				source);
}

static void add_published(struct reach *reach, const struct client *client)
{
	if (is_recent(reach->heap, HEAPD_READ_ONCE(client->memory->ranges_cycle)))
		add_words(reach, client, HEAPD_SESSION_RANGES_AT,
			  published(HEAPD_READ_ONCE(client->memory->ranges_count), HEAPD_RANGES_BYTES),
			  REACH_RANGE);
	add_stacks(reach, client, REACH_STACK);
	add_stacks(reach, client, REACH_PAST);
}

void reach_add_published(struct reach *reach)
{
	const struct clients *clients = reach->heap->clients;

	for (unsigned i = 0; i < clients->n; i++)
		if (clients->slots[i].live)
			add_published(reach, &clients->slots[i]);
}

/* Once more ------------------------------------------------------------------------------------------------------- */

static bool leads_to(const struct heap *heap, uint64_t word, uint64_t start)
{
	struct reach_slot slot;

	return reach_find(heap, word, &slot) && slot.start == start;
}

static bool pins_lead_to(const struct client *client, const struct heap *heap, uint64_t start)
{
	uint32_t n = HEAPD_LOAD_ACQUIRE(&client->memory->npins);
	uint64_t at = HEAPD_SESSION_PIN_AT, words[PIECE_WORDS], piece;

	for (n = n < HEAPD_PIN_MAX ? n : HEAPD_PIN_MAX; n; n -= (uint32_t)piece, at += piece * 8) {
		piece = n < PIECE_WORDS ? n : PIECE_WORDS;
		if (client_read(client, at, words, piece) < 0)
			return false;
		for (uint64_t i = 0; i < piece; i++)
			if (leads_to(heap, words[i], start))
				return true;
	}
	return false;
}

/* Tickets and queues of the dead do not change while heap->lock is held. */
static bool root_stands(const struct heap *heap, const struct reach_step *step)
{
	if (step->from == REACH_ROOT_MIN + REACH_NAMED)
		return leads_to(heap, HEAPD_READ_ONCE(heap->t.roots[step->word].object), step->start);
	if (step->from != REACH_ROOT_MIN + REACH_PIN)
		return true;
	for (unsigned i = 0; i < heap->clients->n; i++) {
		const struct client *client = &heap->clients->slots[i];

		if (client->live && (uint32_t)client->pid == step->word &&
		    pins_lead_to(client, heap, step->start))
			return true;
	}
	return false;
}

bool reach_stands(const struct reach *reach, const struct reach_step *step)
{
	for (unsigned i = 0; i < WAY_LOOKED; i++) {
		if (step->from >= REACH_ROOT_MIN)
			return root_stands(reach->heap, step);
		const struct reach_step *before = &reach->steps[step->from];
		struct reach_slot slot = reach_slot_at(reach->heap, before->start);

		if (!leads_to(reach->heap, reach_read(reach->heap, &slot, step->word), step->start))
			return false;
		step = before;
	}
	return true;
}
