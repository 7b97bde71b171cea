/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing; reads what clients hold. Everything read here is a hint: a client can write what it
 * likes. A base word counts only if it is the start of a slab of the right class in a span in use, and
 * its bits only where the slab has slots, so a hostile word can at worst name another slab of its own
 * heap.
 */
#include "held.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heapd/delay.h"
#include "heapd/mutant.h"
#include "heapd/step.h"

#define HELD_MIN 1024u
#define HANDS_TRIES \
	100u /* an install is lost to another process: that many in a row only a hostile client has */

void held_init(struct held *held)
{
	*held = (struct held){ 0 };
}

void held_deinit(struct held *held)
{
	free(held->slots);
	held_init(held);
}

static uint32_t slot_of(const struct held *held, uint32_t slab)
{
	return (slab * 2654435761u) & (held->capacity - 1);
}

const struct held_slab *held_find(const struct held *held, uint32_t slab)
{
	if (!held->capacity)
		return NULL;
	for (uint32_t i = slot_of(held, slab);; i = (i + 1) & (held->capacity - 1)) {
		const struct held_slab *s = &held->slots[i];

		if (!held_any(s))
			return NULL;
		if (s->slab == slab)
			return s;
	}
}

/* The slab's entry, or the empty place where it belongs. */
static struct held_slab *held_place(struct held *held, uint32_t slab)
{
	uint32_t i = slot_of(held, slab);

	while (held_any(&held->slots[i]) && held->slots[i].slab != slab)
		i = (i + 1) & (held->capacity - 1);
	return &held->slots[i];
}

static int held_grow(struct held *held)
{
	struct held old = *held;

	held->capacity = old.capacity ? old.capacity * 2 : HELD_MIN;
	held->slots = calloc(held->capacity, sizeof(*held->slots));
	if (!held->slots) {
		*held = old;
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < old.capacity; i++)
		if (held_any(&old.slots[i]))
			*held_place(held, old.slots[i].slab) = old.slots[i];
	free(old.slots);
	return 0;
}

/* The slab's entry, to which the caller adds bits. NULL when there is no memory: gathering fails then. */
static struct held_slab *held_insert(struct held *held, uint32_t slab, uint32_t first)
{
	struct held_slab *s;

	if (held->count * 2 >= held->capacity && held_grow(held) < 0) {
		held->failed = true;
		return NULL;
	}
	s = held_place(held, slab);
	if (!held_any(s)) {
		held->count++;
		*s = (struct held_slab){ .slab = slab, .span = first };
	}
	return s;
}

static void held_clear(struct held *held)
{
	if (held->slots)
		memset(held->slots, 0, (size_t)held->capacity * sizeof(*held->slots));
	held->count = 0;
	held->current_bytes = held->spare_bytes = held->senseless = 0;
	held->failed = false;
}

bool held_resolve(const struct heap *heap, uint32_t class, uint64_t base, uint32_t *first, uint32_t *k)
{
	uint64_t offset = (base & ~HEAPD_CURRENT_ZEROED) - heap->t.base;
	const struct heapd_span *span;
	uint32_t owner;

	if (offset >= heap->t.size)
		return false;
	owner = heap->t.page_span[offset >> HEAPD_PAGE_SHIFT];
	if (!owner)
		return false;
	span = &heap->t.spans[owner - 1];
	offset -= (uint64_t)(owner - 1) << HEAPD_PAGE_SHIFT;
	if (span->class != class || !span->magic || !span->slab_slots)
		return false;
	*first = owner - 1;
	*k = heapd_span_index(span, offset) / span->slab_slots;
	return *k < heapd_span_slabs(span) && heapd_slab_offset(span, *k) == offset;
}

bool held_batch_valid(const struct heap *heap, const struct heapd_batch *batch)
{
	uint32_t first = heapd_entry_page(batch->entry), last;
	const struct heapd_span *span;

	if (first >= heap->geometry.pages || heap->t.page_span[first] != first + 1 ||
	    !heapd_entry_present(batch->entry))
		return false;
	span = &heap->t.spans[first];
	last = heapd_entry_slab(batch->entry) + 31u -
	       (uint32_t)__builtin_clz(heapd_entry_present(batch->entry));
	return span->magic && span->slab_slots && span->class == batch->class &&
	       last < heapd_span_slabs(span);
}

void held_batch_read(struct heapd_batch *copy, const struct heapd_batch *shared)
{
	copy->entry = HEAPD_LOAD_ACQUIRE(&shared->entry);
	copy->class = HEAPD_READ_ONCE(shared->class);
	for (unsigned i = 0; i < HEAPD_BATCH_MAX; i++)
		copy->masks[i] = HEAPD_READ_ONCE(shared->masks[i]);
}

static void add_spare(struct held *held, const struct heap *heap, const struct heapd_batch *batch)
{
	uint32_t first = heapd_entry_page(batch->entry), present = heapd_entry_present(batch->entry);
	const struct heapd_span *span = &heap->t.spans[first];

	for (; present; present &= present - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(present), k = heapd_entry_slab(batch->entry) + i;
		uint64_t bits = batch->masks[i] & heapd_slab_valid(span, k);

		if (!bits)
			continue;
		struct held_slab *s = held_insert(held, span->slab0 + k, first);

		if (!s)
			return;
		s->twice |= s->spare & bits;
		s->spare |= bits;
		held->spare_bytes += (uint64_t)__builtin_popcountll(bits) * span->elemsize;
	}
}

static void add_moving(struct held *held, const struct heap *heap, uint64_t entry, uint64_t mask)
{
	struct heapd_batch batch = { .entry = entry };
	uint32_t first = heapd_entry_page(entry), k = heapd_entry_slab(entry);
	struct held_slab *s;

	if (!entry || first >= heap->geometry.pages)
		return;
	batch.class = heap->t.spans[first].class;
	if (!held_batch_valid(heap, &batch) || heapd_entry_present(entry) != 1) {
		held->senseless++;
		return;
	}
	uint64_t bits = mask & heapd_slab_valid(&heap->t.spans[first], k);

	s = bits ? held_insert(held, heap->t.spans[first].slab0 + k, first) : NULL;
	if (s)
		s->moving |= bits;
}

/* What one thread has in its hands: a copy. */
struct hands {
	struct heapd_batch spares[HEAPD_SPARE_COUNT];
	uint64_t installing, mask;
};

/*
 * First the spares, then what is being installed. Where a slab becomes a spare again in between, it may have been
 * seen as neither: the thread counts that before it clears the note, and all is read once more.
 */
static bool hands_read(struct hands *hands, const struct heapd_thread *thread)
{
	uint32_t before = HEAPD_LOAD_ACQUIRE(&thread->put_back), after;

	for (unsigned tries = 0; tries < HANDS_TRIES; tries++) {
		for (uint32_t i = 0; i < HEAPD_SPARE_COUNT; i++) {
			hands->spares[i].entry = 0;
			if (HEAPD_READ_ONCE(thread->spares[i].entry))
				held_batch_read(&hands->spares[i], &thread->spares[i]);
		}
		DELAY(16);
		STEP(hands);
		hands->installing = HEAPD_LOAD_ACQUIRE(&thread->installing);
		hands->mask = HEAPD_READ_ONCE(thread->installing_mask);
		after = HEAPD_LOAD_ACQUIRE(&thread->put_back);
		if (after == before || MUTANT(lost_install_unseen))
			return true;
		before = after;
	}
	return false;
}

static void gather_thread(struct held *held, const struct heap *heap, const struct heapd_thread *thread)
{
	struct hands hands;

	held->failed |= !hands_read(&hands, thread);
	for (uint32_t i = 0; i < HEAPD_SPARE_COUNT; i++) {
		if (!hands.spares[i].entry)
			continue;
		if (held_batch_valid(heap, &hands.spares[i]))
			add_spare(held, heap, &hands.spares[i]);
		else
			held->senseless++;
	}
	add_moving(held, heap, hands.installing, hands.mask);
}

static void gather_client(struct held *held, const struct heap *heap, const struct client *client)
{
	uint32_t n;
	const struct heapd_thread *threads = client_threads(client, &n);

	for (uint32_t t = 0; t < n; t++)
		gather_thread(held, heap, &threads[t]);
}

static void gather_threads(struct held *held, struct heap *heap)
{
	for (unsigned c = 0; c < heap->clients->n; c++)
		if (heap->clients->slots[c].live)
			gather_client(held, heap, &heap->clients->slots[c]);
}

/* {base, bits} of a word that changes under the reader: read again until base stood still around bits. */
static struct heapd_current current_read(const struct heapd_current *word)
{
	struct heapd_current seen;
	uint64_t again;

	for (int tries = 0; tries < 100; tries++) {
		seen.base = HEAPD_LOAD_ACQUIRE(&word->base);
		seen.bits = HEAPD_LOAD_ACQUIRE(&word->bits);
		again = HEAPD_LOAD_ACQUIRE(&word->base);
		if (again == seen.base)
			break;
	}
	return seen;
}

static void add_current(struct held *held, const struct heap *heap, uint32_t class,
			const struct heapd_current *word)
{
	struct heapd_current seen = current_read(word);
	uint32_t first, k;

	if (!seen.bits)
		return;
	if (!held_resolve(heap, class, seen.base, &first, &k)) {
		held->senseless++;
		return;
	}
	const struct heapd_span *span = &heap->t.spans[first];
	uint64_t bits = seen.bits & heapd_slab_valid(span, k);
	struct held_slab *s;

	if (!bits)
		return;
	s = held_insert(held, span->slab0 + k, first);
	if (!s)
		return;
	s->twice |= s->current & bits;
	s->current |= bits;
	held->current_bytes += (uint64_t)__builtin_popcountll(bits) * span->elemsize;
}

static void gather_currents(struct held *held, struct heap *heap)
{
	uint32_t classes = HEAPD_LOAD_ACQUIRE(&heap->t.directory->nclasses);

	for (uint64_t cpu = 0; cpu < heap->geometry.cpus; cpu++)
		for (uint32_t class = 0; class < classes; ++class) {
			uint64_t at = (cpu << (HEAPD_ROW_SHIFT - HEAPD_CURRENT_SHIFT)) + class;

			if (!heap->t.class_stats[class].spans)
				continue;
			add_current(held, heap, class, &heap->t.rseq_rows[at].slabs[0]);
			add_current(held, heap, class, &heap->t.rseq_rows[at].slabs[1]);
			add_current(held, heap, class,
				    (const struct heapd_current *)(const void *)&heap->t.cas_rows[at]);
		}
}

void held_gather_hands(struct held *held, const struct heap *heap, const struct client *client)
{
	held_clear(held);
	gather_client(held, heap, client);
}

int held_gather(struct held *held, struct heap *heap)
{
	held_clear(held);
	gather_threads(held, heap);
	gather_currents(held, heap);
	return held->failed ? -ENOMEM : 0;
}
