/* SPDX-License-Identifier: MIT */
/*
 * Owns the queues of objects that have died, and with them the claim that such an object is whole when it is taken, and is
 * taken once.
 *
 * When marking has ended, and no weak cell leads to a white object any more (weaks.c), what is white is dead, and no thread
 * can get it back. Dead objects of watched types are queued: a bit each in marks->dying, so there is no limit to their
 * number. They become grey, and what they lead to is marked: nothing of it is swept. From the next cycle
 * on they are roots, until they are taken. Dead objects that lead to one another are all queued, in no order.
 *
 *   dead = out & ~mark & ~hold & ~done & ~torn & ~freed & ~unborn
 *
 * done: taken before; it is swept as any other. freed: the program has ended it explicitly, and does not want to hear of it.
 * Weak cells were cleared before, so none leads to what is queued, nor to what only that leads to.
 *
 * Whole. A held slot is not swept though nothing may have reached it; then what its object points to may be swept. So held
 * objects of watched types are marked (free slots among them, too, with whatever stale words they have). Of a type that was
 * not watched then, torn says which they were: they are not queued. When a type is watched, slots that
 * are free in clients' hands at that time are torn no longer: what will be made of them is whole. The sweep of a
 * cycle that was under way then sets those bits again: so this is done once more when it has ended.
 *
 * No slot that was free in the hands of a thread when its process went, in its spares or on the way from there, has an object,
 * though nobody holds it any more. Such slots are torn: the next sweep takes them back, and nobody hears of them. If
 * that happens in the midst of a cycle they are held for the rest of it, and are torn once more after its sweep, which
 * says anew what is torn. One that a thread had just installed when it was killed may be an object of another process since:
 * it is torn until the next sweep that finds it alive.
 *
 * Where a daemon died in a sweep, its dead of types that were not watched as it queued are there still, and what they lead to
 * may be gone. So all that is there of those types is torn for whom comes next: were one watched, it would be queued.
 *
 * Unborn. Who pops a slot and is killed before it has zeroed it leaves a slot that is nobody's, with whatever stood there: of an
 * object that was given to somebody as dead before, say. So free slots of a watched type are filled with poison before they
 * are supplied (ring.c), and what is white and still has a word of it was never an object: it is swept, and nobody hears of
 * it. What was all zeros before it was popped is queued: nobody can tell it from an object whose maker was killed at its
 * first step. That leaves slots that lay in rings or in clients' hands as their type was first watched, and those that a
 * client freed by hand and allocated again out of one slab without the daemon: a kill between their pop and their zeroing has
 * them queued with what stood there.
 *
 * Once. Requests run in one thread. The object is held for its client (clients_hold()) before its bit is cleared: one of the
 * two is a root all the while. Done is set with it, and cleared when the slot is free (marks.h).
 */
#include "deads.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "beat.h"
#include "clients.h"
#include "collection.h"
#include "heapd/atomic.h"
#include "marks.h"
#include "shades.h"
#include "slots.h"
#include "supply.h"
#include "types.h"
#include "walk.h"

/* In the ledger, of a type. */
enum { WATCHED = 1, WATCHED_LATE /* since the cycle under way had begun */ };

struct watch {
	bool on;         /* atomic */
	bool waiting;    /* something may be queued */
	uint64_t cursor; /* below this slab number nothing is */
};

struct deads {
	struct watch types[HEAPD_TYPE_MAX];
	uint8_t *watched; /* the ledger's: which of them are on */
	bool waiting;     /* of any type: the collector's thread alone */
	bool fresh;       /* a type was watched since the last sweep */
};

/* What a walk is told. */
struct queueing {
	struct heap *heap;
	struct marker *marker;
	uint64_t queued;
};

int deads_init(struct heap *heap)
{
	struct ledger ledger;
	int r = ledger_init(&ledger, heap);

	if (r < 0)
		return r;
	heap->deads = calloc(1, sizeof(*heap->deads));
	if (!heap->deads)
		return -ENOMEM;
	heap->deads->watched = ledger.watched;
	for (uint32_t type = 0; type < HEAPD_TYPE_MAX; type++) {
		if (!ledger.watched[type])
			continue;
		/* Of an adopted heap: something may be queued. */
		heap->deads->types[type] = (struct watch){ .on = true, .waiting = true };
		heap->deads->waiting = heap->deads->fresh = true;
	}
	return 0;
}

void deads_deinit(struct heap *heap)
{
	free(heap->deads);
	heap->deads = NULL;
}

static uint64_t slabs_used(const struct heap *heap)
{
	return heap->spans->numbers.high * HEAPD_SLAB_UNIT;
}

static int check_type(const struct heap *heap, uint32_t type, struct refusal *why)
{
	const struct heapd_type_record *record = types_record(heap, type);

	if (!record)
		return refuse(why, -EINVAL,
			      "heap '%s' has no type number %u; use the libheapd of the daemon's build",
			      heap->name, type);
	if (type < HEAPD_TYPE_BUILTIN)
		return refuse(why, -EINVAL,
			      "objects of the built-in type '%s' are not watched; define a type of your own",
			      record->name);
	return 0;
}

/* With heap->lock held. What cannot be gathered stays torn: its objects are not queued. */
static void mend_free_slots(struct heap *heap)
{
	struct held *held = &heap->supply->held;

	if (held_gather(held, heap) < 0)
		return;
	for (uint32_t i = 0; i < held->capacity; i++) {
		const struct held_slab *s = &held->slots[i];
		uint64_t free = s->current | s->spare;

		if (free & heap->marks->torn[s->slab])
			heap->marks->torn[s->slab] &= ~free;
	}
}

int deads_watch(struct heap *heap, uint32_t type, struct refusal *why)
{
	int r = check_type(heap, type, why);

	if (r < 0 || HEAPD_READ_ONCE(heap->deads->types[type].on))
		return r;
	heap_lock(heap);
	heap->deads->fresh = collection_is_active(heap);
	HEAPD_WRITE_ONCE(heap->deads->watched[type], heap->deads->fresh ? WATCHED_LATE : WATCHED);
	HEAPD_WRITE_ONCE(heap->deads->types[type].on, true);
	mend_free_slots(heap);
	heap_unlock(heap);
	return 0;
}

void deads_orphan(struct heap *heap, const struct client *client)
{
	struct held *held = &heap->supply->held;
	struct marks *marks = heap->marks;

	held_gather_hands(held, heap, client);
	for (uint32_t i = 0; i < held->capacity; i++) {
		const struct held_slab *s = &held->slots[i];
		uint64_t free = (s->spare | s->moving) & heap->t.out[s->slab];

		if (!free)
			continue;
		marks->torn[s->slab] |= free;
		if (collection_is_active(heap))
			marks->hold[s->slab] |= free;
	}
}

/* What they are asked at the end of a cycle holds for the next one. */
static void late_no_more(struct heap *heap)
{
	for (uint32_t type = 0; type < HEAPD_TYPE_MAX; type++)
		if (heap->deads->watched[type] == WATCHED_LATE)
			HEAPD_WRITE_ONCE(heap->deads->watched[type], WATCHED);
}

/* Slots of the slab that may have an object which had died, and was neither queued nor swept. */
static uint64_t unburied(const struct heap *heap, uint32_t slab)
{
	const struct heapd_span *span;
	uint32_t first, type;

	if (!ledger_span_of(heap->ledger, slab, &first))
		return 0;
	span = &heap->t.spans[first];
	type = heap->t.classes[span->class].type;
	if (type < HEAPD_TYPE_BUILTIN || heap->deads->watched[type] == WATCHED)
		return 0;
	return heap->t.out[slab] & ~harvest_ringed(heap->supply, first, slab - span->slab0);
}

void deads_restore(struct heap *heap)
{
	bool sweeping = heapd_now_phase(heap->t.directory->cycle.now) == HEAPD_PHASE_SWEEP;
	uint64_t n = sweeping ? slabs_used(heap) : 0;

	for (uint64_t slab = 0; slab < n; slab++) {
		uint64_t torn = unburied(heap, (uint32_t)slab) & ~heap->marks->torn[slab];

		beat_step(&heap->walk_beat, slab);
		if (torn)
			heap->marks->torn[slab] |= torn;
	}
	late_no_more(heap);
}

void deads_swept(struct heap *heap)
{
	const struct clients *c = heap->clients;

	if (heap->deads->fresh)
		mend_free_slots(heap);
	late_no_more(heap);
	heap->deads->fresh = false;
	for (unsigned i = 0; i < c->n; i++)
		if (c->slots[i].gone)
			deads_orphan(heap, &c->slots[i]);
}

static uint64_t object_at(const struct heap *heap, uint32_t slab, uint32_t first, uint64_t bits)
{
	const struct heapd_span *span = &heap->t.spans[first];

	return heap->t.base + ((uint64_t)first << HEAPD_PAGE_SHIFT) +
	       heapd_slab_offset(span, slab - span->slab0) + (uint64_t)__builtin_ctzll(bits) * span->elemsize;
}

static bool slab_is_of(const struct heap *heap, uint32_t slab, uint32_t type, uint32_t *first)
{
	return ledger_span_of(heap->ledger, slab, first) &&
	       heap->t.classes[heap->t.spans[*first].class].type == type;
}

/* With heap->lock held. The first of the queue: its slab and its bit; 0: there is none. */
static uint64_t queue_look(struct heap *heap, uint32_t type, uint32_t *slab, uint64_t *bit)
{
	struct watch *watch = &heap->deads->types[type];
	uint64_t n = slabs_used(heap);
	uint32_t first;

	for (; watch->waiting && watch->cursor < n; watch->cursor++) {
		uint64_t dying = heap->marks->dying[watch->cursor];

		*slab = (uint32_t)watch->cursor;
		if (!dying || !slab_is_of(heap, *slab, type, &first))
			continue;
		*bit = dying & -dying;
		return object_at(heap, *slab, first, *bit);
	}
	watch->waiting = false;
	return 0;
}

/* With heap->lock held. A client that keeps no rules may have freed it since. */
static void queue_drop(struct marks *marks, uint32_t slab, uint64_t bit)
{
	if (!(marks->dying[slab] & bit))
		return;
	/* In this order: a death in between does not have it queued once more. */
	HEAPD_STORE_RELEASE(&marks->done[slab], marks->done[slab] | bit);
	HEAPD_STORE_RELEASE(&marks->dying[slab], marks->dying[slab] & ~bit);
}

void deads_settle(struct heap *heap, uint64_t object)
{
	struct slot slot;

	if (object && slot_find(&heap->t, object, &slot))
		queue_drop(heap->marks, slot.slab, 1ull << slot.bit);
}

int deads_take(struct heap *heap, unsigned client, uint32_t type, uint64_t *object, struct refusal *why)
{
	uint32_t slab = 0;
	uint64_t bit = 0;
	int r = check_type(heap, type, why);

	if (r < 0)
		return r;
	heap_lock(heap);
	*object = queue_look(heap, type, &slab, &bit);
	heap_unlock(heap);
	if (!*object)
		return 0;
	clients_hold(heap, client, *object);
	heap_lock(heap);
	queue_drop(heap->marks, slab, bit);
	heap_unlock(heap);
	return 0;
}

void deads_shade(struct heap *heap, struct marker *marker)
{
	bool any = false;
	uint64_t n;

	if (!heap->deads->waiting)
		return;
	heap_lock(heap);
	n = slabs_used(heap);
	heap_unlock(heap);
	for (uint64_t slab = 0; slab < n; slab++) {
		uint64_t dying = HEAPD_READ_ONCE(heap->marks->dying[slab]);

		if (!dying)
			continue;
		shades_slab(heap, marker, (uint32_t)slab, dying);
		any = true;
	}
	heap->deads->waiting = any;
}

static bool has_poison(uint64_t at, uint64_t n)
{
	const uint64_t *words = (const uint64_t *)(uintptr_t)at; /* NOLINT(performance-no-int-to-ptr) */

	for (uint64_t i = 0; i < n; i++)
		if (HEAPD_READ_ONCE(words[i]) == HEAPD_POISON_WORD)
			return true;
	return false;
}

/* Of these slots of the slab: those that nobody has zeroed since they were supplied. */
static uint64_t unborn(const struct heap *heap, uint32_t slab, uint32_t first, uint64_t slots)
{
	const struct heapd_span *span = &heap->t.spans[first];
	uint64_t found = 0;

	if (!span->magic) /* large objects are not supplied */
		return 0;
	for (; slots; slots &= slots - 1)
		if (has_poison(object_at(heap, slab, first, slots), span->elemsize / 8))
			found |= slots & -slots;
	return found;
}

/* How many of the slab were queued. */
static uint64_t queue_slab(struct heap *heap, struct marker *marker, struct watch *watch, uint32_t slab,
			   uint32_t first)
{
	struct marks *marks = heap->marks;
	uint64_t white = heap->t.out[slab] & ~HEAPD_READ_ONCE(marks->mark[slab]),
		 held = white & marks->hold[slab],
		 dead = white & ~held & ~marks->done[slab] & ~marks->torn[slab] &
			~HEAPD_LOAD_ACQUIRE(&heap->t.freed[slab]);

	dead &= ~unborn(heap, slab, first, dead);
	shades_slab(heap, marker, slab, held | dead);
	if (!dead)
		return 0;
	HEAPD_WRITE_ONCE(marks->dying[slab], marks->dying[slab] | dead);
	watch->waiting = heap->deads->waiting = true;
	if (slab < watch->cursor)
		watch->cursor = slab;
	return (uint64_t)__builtin_popcountll(dead);
}

static uint32_t queue_span(void *arg, uint32_t first)
{
	struct queueing *q = arg;
	const struct heapd_span *span = &q->heap->t.spans[first];
	uint32_t type = q->heap->t.classes[span->class].type, slabs = heapd_span_slabs(span);
	struct watch *watch = &q->heap->deads->types[type];
	uint64_t queued = 0;

	if (!HEAPD_READ_ONCE(watch->on))
		return 0;
	for (uint32_t k = 0; k < slabs; k++)
		queued += queue_slab(q->heap, q->marker, watch, span->slab0 + k, first);
	if (queued)
		HEAPD_COUNT(q->heap->t.types[type].dead, queued);
	q->queued += queued;
	return slabs;
}

uint64_t deads_queue(struct heap *heap, struct marker *marker)
{
	struct queueing q = { .heap = heap, .marker = marker };
	bool any = false;

	for (uint32_t type = 0; type < HEAPD_TYPE_MAX && !any; type++)
		any = HEAPD_READ_ONCE(heap->deads->types[type].on);
	if (any)
		walk_spans(heap, queue_span, &q);
	return q.queued;
}
