/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing: what the library does with shared words, as supply.h, percpu.h and session.h say, one thread at a time. Objects
 * hang in lists, one on each pin, by their first words; so the collector finds all of them.
 */
#include "images_clients.h"

#include <err.h>

#include "daemon/ledger.h"
#include "heapd/canary.h"
#include "images_tape.h"

static struct heap *heap_of(const struct clients_of *c)
{
	return c->d->heap;
}

static struct heapd_session *core_of(const struct clients_of *c, unsigned i)
{
	return c->sessions[i]->memory.core;
}

static struct heapd_thread *thread_of(const struct clients_of *c, unsigned i, unsigned thread)
{
	return (struct heapd_thread *)(void *)((char *)core_of(c, i) + HEAPD_SESSION_THREAD_AT) + thread;
}

static uint64_t *pin_of(const struct clients_of *c, unsigned i, unsigned pin)
{
	return (uint64_t *)(void *)((char *)core_of(c, i) + HEAPD_SESSION_PIN_AT) + pin;
}

static uint64_t *words_of(uint64_t object)
{
	return (uint64_t *)(uintptr_t)object;
}

/* Where an object's slot is. */
struct at {
	uint32_t slab;
	uint64_t bit, bytes;
};

static struct at find(const struct clients_of *c, uint64_t object)
{
	const struct heapd_tables *t = &heap_of(c)->t;
	uint32_t first = t->page_span[(object - t->base) >> HEAPD_PAGE_SHIFT] - 1;
	const struct heapd_span *span = &t->spans[first];
	uint64_t index = (object - t->base - ((uint64_t)first << HEAPD_PAGE_SHIFT)) / span->elemsize;

	return (struct at){ span->slab0 + (uint32_t)(index / span->slab_slots),
			    1ull << (index % span->slab_slots), span->elemsize };
}

/* Sessions ----------------------------------------------------------------------------------------------------------- */

void client_begin(struct clients_of *c, unsigned i)
{
	struct heapd_session *core = core_of(c, i);

	TAPE_SET(core->attached, HEAPD_SESSION_ATTACHED);
	for (unsigned thread = 0; thread < CLIENTS_THREADS; thread++)
		TAPE_SET(thread_of(c, i, thread)->state, HEAPD_THREAD_ONLINE);
	TAPE_SET(core->nthreads, CLIENTS_THREADS);
	TAPE_SET(core->npins, WORLD_PINS + WORLD_CELLS);
}

static void leave_batch(struct clients_of *c, const struct heapd_batch *batch)
{
	uint32_t slab0 = heap_of(c)->t.spans[heapd_entry_page(batch->entry)].slab0 +
			 heapd_entry_slab(batch->entry);

	for (uint32_t present = heapd_entry_present(batch->entry); present; present &= present - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(present);

		world_leave(c->w, slab0 + i, batch->masks[i]);
	}
}

void client_end(struct clients_of *c, unsigned i)
{
	for (unsigned thread = 0; thread < CLIENTS_THREADS; thread++)
		for (unsigned s = 0; s < HEAPD_SPARE_COUNT; s++)
			if (thread_of(c, i, thread)->spares[s].entry)
				leave_batch(c, &thread_of(c, i, thread)->spares[s]);
	for (unsigned pin = 0; pin < WORLD_PINS; pin++)
		for (uint64_t object = *pin_of(c, i, pin); object; object = *words_of(object))
			client_forget(c, object);
	for (unsigned k = 0; k < WORLD_CELLS; k++)
		if (client_has_cell(c, i, k))
			client_cell_drop(c, i, k, false);
}

/* Batches ------------------------------------------------------------------------------------------------------------ */

static int free_spare(const struct heapd_thread *thread)
{
	for (int s = 0; s < (int)HEAPD_SPARE_COUNT; s++)
		if (!thread->spares[s].entry)
			return s;
	return -1;
}

static void put_batch(struct heapd_batch *to, const struct heapd_batch *batch)
{
	for (uint32_t i = 0; i < HEAPD_BATCH_MAX; i++)
		if (to->masks[i] != batch->masks[i])
			TAPE_SET(to->masks[i], batch->masks[i]);
	TAPE_SET(to->class, batch->class);
	TAPE_SET(to->entry, batch->entry);
}

/* Who takes a slab that is nobody's says that it is its own. */
static void own_batch(struct clients_of *c, unsigned i, const struct heapd_batch *batch)
{
	uint32_t slab0 = heap_of(c)->t.spans[heapd_entry_page(batch->entry)].slab0 +
			 heapd_entry_slab(batch->entry);

	for (uint32_t present = heapd_entry_present(batch->entry); present; present &= present - 1) {
		uint32_t k = (uint32_t)__builtin_ctz(present), *taker = &heap_of(c)->t.taker[slab0 + k];

		world_own(c->w, slab0 + k, batch->masks[k]);
		if (!*taker)
			TAPE_SET(*taker, heapd_taker(c->sessions[i]->uid));
	}
}

bool client_take(struct clients_of *c, unsigned i, unsigned thread, uint32_t class)
{
	const struct heapd_tables *t = &heap_of(c)->t;
	struct heapd_thread *self = thread_of(c, i, thread);
	uint64_t head = t->heads[class].head;
	struct heapd_batch batch = { .entry = t->rings[class].slots[head % HEAPD_RING_SLOTS],
				     .class = class };
	int spare = free_spare(self);

	if (head >= t->rings[class].tail || spare < 0)
		return false;
	for (uint32_t k = 0; k < HEAPD_BATCH_MAX; k++)
		if (heapd_entry_present(batch.entry) >> k & 1)
			batch.masks[k] = t->supplied[t->spans[heapd_entry_page(batch.entry)].slab0 +
						     heapd_entry_slab(batch.entry) + k];
	TAPE_SET(c->w->hands, 1);
	TAPE_SET(t->heads[class].head, head + 1);
	own_batch(c, i, &batch);
	put_batch(&self->spares[spare], &batch);
	TAPE_SET(c->w->hands, 0);
	return true;
}

void client_hand_back(struct clients_of *c, unsigned i, unsigned thread, unsigned spare)
{
	struct heapd_thread *self = thread_of(c, i, thread);
	struct heapd_batch batch;

	/* Most places are empty. */
	for (unsigned n = 0; n < HEAPD_SPARE_COUNT && !self->spares[spare].entry; n++)
		spare = (spare + 1) % HEAPD_SPARE_COUNT;
	batch = self->spares[spare];
	if (!batch.entry || self->handback_tail - self->handback_head >= HEAPD_HANDBACK_COUNT)
		return;
	leave_batch(c, &batch);
	TAPE_SET(self->spares[spare].entry, 0);
	put_batch(&self->handback[self->handback_tail % HEAPD_HANDBACK_COUNT], &batch);
	TAPE_SET(self->handback_tail, self->handback_tail + 1);
	TAPE_SET(core_of(c, i)->handback, 1);
}

/* Objects ------------------------------------------------------------------------------------------------------------ */

static bool is_hardened(const struct clients_of *c)
{
	return heap_of(c)->t.directory->cycle.debug & HEAPD_DEBUG_HARDENED;
}

/* All zero but for the canary of a hardened heap. */
static void begin_object(const struct clients_of *c, uint64_t object, uint64_t bytes)
{
	uint64_t *words = words_of(object), last = bytes / 8 - 1;

	for (uint64_t i = 0; i <= last; i++) {
		uint64_t wanted =
			i == last && is_hardened(c) ? heapd_canary(heap_of(c)->t.directory->id, object) : 0;

		if (words[i] != wanted)
			TAPE_SET(words[i], wanted);
	}
}

static uint64_t make_of(struct clients_of *c, unsigned i, unsigned thread, unsigned spare)
{
	const struct heapd_tables *t = &heap_of(c)->t;
	struct heapd_batch *batch = &thread_of(c, i, thread)->spares[spare];
	uint32_t first = heapd_entry_page(batch->entry), k, slab;
	const struct heapd_span *span = &t->spans[first];
	uint64_t bit, object;

	k = (uint32_t)__builtin_ctz(heapd_entry_present(batch->entry));
	bit = batch->masks[k] & -batch->masks[k];
	slab = span->slab0 + heapd_entry_slab(batch->entry) + k;
	object = t->base + ((uint64_t)first << HEAPD_PAGE_SHIFT) +
		 heapd_slab_offset(span, heapd_entry_slab(batch->entry) + k) +
		 (uint64_t)__builtin_ctzll(bit) * span->elemsize;
	TAPE_SET(t->lent[slab], t->lent[slab] & ~bit);
	if (batch->masks[k] != bit)
		TAPE_SET(batch->masks[k], batch->masks[k] & ~bit);
	else if (heapd_entry_present(batch->entry) & (heapd_entry_present(batch->entry) - 1))
		TAPE_SET(batch->entry, heapd_entry_without(batch->entry, k));
	else
		TAPE_SET(batch->entry, 0);
	begin_object(c, object, span->elemsize);
	return object;
}

static bool has_cells(const struct clients_of *c, unsigned i, unsigned thread, unsigned spare)
{
	return thread_of(c, i, thread)->spares[spare].class == HEAPD_CLASS_WEAK;
}

uint64_t client_make(struct clients_of *c, unsigned i, unsigned thread, unsigned spare)
{
	if (!thread_of(c, i, thread)->spares[spare].entry || has_cells(c, i, thread, spare))
		return 0;
	return make_of(c, i, thread, spare);
}

void client_link(struct clients_of *c, unsigned i, unsigned pin, uint64_t object)
{
	uint64_t *list = pin_of(c, i, pin);

	TAPE_SET(*words_of(object), *list);
	TAPE_SET(*list, object);
}

bool client_has(const struct clients_of *c, unsigned i, unsigned pin)
{
	return *pin_of(c, i, pin);
}

uint64_t client_first(const struct clients_of *c, unsigned i, unsigned pin)
{
	return *pin_of(c, i, pin);
}

uint64_t client_unlink(struct clients_of *c, unsigned i, unsigned pin)
{
	uint64_t *list = pin_of(c, i, pin), object = *list;

	if (!object)
		return 0;
	TAPE_SET(*list, *words_of(object));
	TAPE_SET(*words_of(object), 0);
	return object;
}

void client_own(struct clients_of *c, uint64_t object)
{
	struct at at = find(c, object);

	world_own(c->w, at.slab, at.bit);
}

void client_forget(struct clients_of *c, uint64_t object)
{
	struct at at = find(c, object);

	world_let_go(c->w, object, false);
	world_leave(c->w, at.slab, at.bit);
}

void client_free(struct clients_of *c, unsigned i, uint64_t object)
{
	const struct heapd_tables *t = &heap_of(c)->t;
	struct at at = find(c, object);

	TAPE_SET(thread_of(c, i, 0)->freed, 1);
	for (uint64_t w = 0; is_hardened(c) && at.bytes <= HEAPD_SMALL_MAX && w < at.bytes / 8; w++)
		TAPE_SET(words_of(object)[w], HEAPD_POISON_WORD);
	world_let_go(c->w, object, true);
	world_leave(c->w, at.slab, at.bit);
	TAPE_SET(t->freed[at.slab], t->freed[at.slab] | at.bit);
	TAPE_SET(t->freed_dirty[at.slab / 64], t->freed_dirty[at.slab / 64] | 1ull << at.slab % 64);
}

/* Weak cells --------------------------------------------------------------------------------------------------------- */

static uint64_t cell_make(struct clients_of *c, unsigned i)
{
	for (unsigned n = 0; n < CLIENTS_THREADS * HEAPD_SPARE_COUNT; n++)
		if (thread_of(c, i, n % CLIENTS_THREADS)->spares[n / CLIENTS_THREADS].entry &&
		    has_cells(c, i, n % CLIENTS_THREADS, n / CLIENTS_THREADS))
			return make_of(c, i, n % CLIENTS_THREADS, n / CLIENTS_THREADS);
	return 0;
}

bool client_cell(struct clients_of *c, unsigned i, unsigned k, uint64_t object)
{
	struct world_cell *known = &c->w->cells[i][k];
	struct at at = find(c, object);
	uint64_t cell = cell_make(c, i);

	if (!cell)
		return false;
	TAPE_SET(*words_of(cell), object);
	TAPE_SET(*pin_of(c, i, WORLD_PINS + k), cell);
	TAPE_SET(known->object, object);
	TAPE_SET(known->slab, at.slab);
	TAPE_SET(known->bit, at.bit);
	TAPE_SET(known->is_let_go, 0);
	TAPE_SET(known->cell, cell);
	return true;
}

bool client_has_cell(const struct clients_of *c, unsigned i, unsigned k)
{
	return c->w->cells[i][k].cell;
}

void client_cell_drop(struct clients_of *c, unsigned i, unsigned k, bool is_freed)
{
	uint64_t cell = c->w->cells[i][k].cell;

	TAPE_SET(c->w->cells[i][k].cell, 0);
	TAPE_SET(*pin_of(c, i, WORLD_PINS + k), 0);
	if (is_freed)
		client_free(c, i, cell);
	else
		client_forget(c, cell);
}

/* One in three, and others in the next cycle. */
static void cells_read(struct clients_of *c, unsigned i, uint64_t cycle)
{
	for (unsigned k = 0; k < WORLD_CELLS; k++) {
		uint64_t cell = c->w->cells[i][k].cell, word = cell ? *words_of(cell) : 0;

		if (word && !(word & HEAPD_WEAK_TOUCHED) && (cycle + i + k) % 3 == 0)
			TAPE_SET(*words_of(cell), word | HEAPD_WEAK_TOUCHED);
	}
}

/* The collector ------------------------------------------------------------------------------------------------------ */

void clients_answer(struct clients_of *c)
{
	uint64_t now = heap_of(c)->t.directory->cycle.now;

	for (unsigned i = 0; i < WORLD_CLIENTS; i++) {
		if (!c->sessions[i] || !c->sessions[i]->pid || heapd_now_phase(now) != HEAPD_PHASE_SCAN)
			continue;
		for (unsigned thread = 0; thread < CLIENTS_THREADS; thread++)
			if (thread_of(c, i, thread)->scanned != heapd_now_cycle(now))
				TAPE_SET(thread_of(c, i, thread)->scanned, heapd_now_cycle(now));
		if (core_of(c, i)->ranges_cycle != heapd_now_cycle(now))
			TAPE_SET(core_of(c, i)->ranges_cycle, heapd_now_cycle(now));
		cells_read(c, i, heapd_now_cycle(now));
	}
}
