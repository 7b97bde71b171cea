/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing: the oracle for what was taken back too early (I5) and what has to come back (I6).
 *
 *   I5  an exact pointer in a reachable object, or a root, leads to an object
 *   I6  what is allocated and not reachable is garbage: the difference of two figures of the reply, which
 *       a test compares after two cycles
 *
 * Where nobody has ever freed by hand, only the collector can have taken an object back that something leads to: a fault. Else it may
 * be a program's mistake, and is counted as dangling.
 *
 * Clients go on meanwhile. What a client holds free is looked at twice: before the objects, so that the content of free slots
 * is not followed, and after them, for what was found. A slot that is free then was free when the pointer was seen, since a
 * slot that becomes an object does not become free again but by a sweep, which needs the lock, or a free by hand.
 *
 * Where programs free by hand, an object may have been let go of and freed since the pointer to it was seen, by all the rules. So
 * what is found then is looked at again, pointers and free slots in turn: a pointer that dangles does so each time, one that
 * comes and goes with its object is met in one of its other states. By the look alone that cannot be proved: a thread that makes
 * an object of the same slot, and frees it, in step with us would deceive it.
 */
#include "reachable.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "path.h"
#include "places.h"
#include "reach.h"

#define TEXT_MAX 200u
#define LOOKS    16u /* at what is found where programs free by hand */

static bool was_freed_by_hand(const struct verifier *v)
{
	const struct clients *clients = v->heap->clients;
	bool freed = clients->freed;

	for (unsigned i = 0; i < clients->n && !freed; i++)
		if (clients->slots[i].live)
			freed = client_has_freed(&clients->slots[i]);
	return freed || v->reply->freed_pending;
}

/* As of now: in the ledger, a ring, a current slab or a spare. */
static bool is_free(const struct verifier *v, const struct reach_slot *slot)
{
	const struct held_slab *held = held_find(&v->supply->held, slot->slab);
	uint64_t bits =
		~v->heap->t.out[slot->slab] |
		harvest_ringed(v->supply, slot->first, slot->slab - v->heap->t.spans[slot->first].slab0);

	if (held)
		bits |= held->current | held->spare;
	return bits >> slot->bit & 1;
}

/* Counts one finding; of the first, says from where it leads to which address. */
static void note(struct verifier *v, const struct reach *reach, const struct reach_step *step, bool by_hand)
{
	char where[TEXT_MAX];
	uint64_t to = v->heap->t.base + step->start;

	if (v->reply->dangling++)
		return;
	path_write_last(reach, step, where, sizeof(where));
	snprintf(v->reply->dangling_first, sizeof(v->reply->dangling_first),
		 "%.190s points to 0x%" PRIx64 ", which is free", where, to);
	if (!by_hand)
		verifier_fault(v, "I5: %s", v->reply->dangling_first);
}

/* The numbers of the steps that lead to free slots, NULL if there is no memory for them; returns how many. */
static uint64_t found_free(const struct verifier *v, const struct reach *reach, uint64_t **found)
{
	uint64_t n = 0;

	*found = calloc(reach->n + 1, sizeof(**found));
	for (uint64_t i = 0; *found && i < reach->n; i++) {
		struct reach_slot slot = reach_slot_at(v->heap, reach->steps[i].start);

		beat_step(&v->heap->walk_beat, i);
		if (is_free(v, &slot))
			(*found)[n++] = i;
	}
	return n;
}

/* Those of them that still dangle. */
static int look_again(const struct verifier *v, const struct reach *reach, uint64_t *found, uint64_t *n)
{
	uint64_t left = 0, still = 0;
	int r;

	for (uint64_t i = 0; i < *n; i++) {
		beat_step(&v->heap->walk_beat, i);
		if (reach_stands(reach, &reach->steps[found[i]]))
			found[left++] = found[i];
	}
	ring_note_all(v->supply, clock_ns());
	r = held_gather(&v->supply->held, v->heap);
	for (uint64_t i = 0; i < left; i++) {
		struct reach_slot slot = reach_slot_at(v->heap, reach->steps[found[i]].start);

		if (is_free(v, &slot))
			found[still++] = found[i];
	}
	*n = still;
	return r;
}

static int judge(struct verifier *v, const struct reach *reach)
{
	bool by_hand = was_freed_by_hand(v);
	uint64_t *found, n = found_free(v, reach, &found);
	int r = found ? 0 : -ENOMEM;

	for (unsigned i = 0; r == 0 && n && by_hand && i < LOOKS; i++)
		r = look_again(v, reach, found, &n);
	for (uint64_t i = 0; r == 0 && i < n; i++)
		note(v, reach, &reach->steps[found[i]], by_hand);
	free(found);
	if (r < 0 || !reach->lost)
		return r;
	note(v, reach, &reach->lost_first, by_hand);
	v->reply->dangling += reach->lost - 1;
	return 0;
}

static int look(struct verifier *v, struct reach *reach)
{
	int r;

	reach_add_exact(reach);
	reach_run(reach, REACH_EVERYTHING);
	if (reach->failed)
		return -ENOMEM;
	ring_note_all(v->supply, clock_ns());
	r = held_gather(&v->supply->held, v->heap);
	if (r < 0)
		return r;
	v->reply->reachable = reach->bytes;
	v->reply->reachable_objects = reach->objects;
	return judge(v, reach);
}

int reachable_verify(struct verifier *v)
{
	uint64_t *closed = calloc(v->heap->geometry.slabs, sizeof(*closed));
	struct reach reach;
	int r;

	if (!closed)
		return -ENOMEM;
	places_free(v, closed);
	r = reach_init(&reach, v->heap, closed);
	if (r == 0) {
		r = look(v, &reach);
		reach_deinit(&reach);
	}
	free(closed);
	return r;
}
