/* SPDX-License-Identifier: MIT */
/*
 * Reach: which objects a heap's roots lead to, found in the plainest way. The oracle that the marker is measured by,
 * so it shares nothing with the marker: neither how a word is resolved, nor how a type's fields are.
 *
 * Everything is called with heap->lock held, from reach_init() to the last look at what was found: spans and clients stand still
 * then. Objects are written by clients meanwhile; each word is read once.
 */
#ifndef HEAPD_DAEMON_REACH_H
#define HEAPD_DAEMON_REACH_H

#include <stdbool.h>
#include <stdint.h>

#include "heap.h"

/* A slot, as an object of it is found. */
struct reach_slot {
	uint64_t start; /* offset from the heap's base */
	uint32_t first; /* page of its span */
	uint32_t slab, bit;
};

enum reach_source {
	REACH_NAMED, /* the named root of that number */
	REACH_TICKET,
	REACH_DEAD, /* queued as dead, until it is taken */
	REACH_PIN,  /* of that process, as all that follow */
	REACH_RANGE, /* a registered range, as it was published last; from here on, nothing that is surely still held */
	REACH_FLIGHT, /* an address that was sent to it: it may have freed the object by now */
	REACH_STACK,  /* a thread's stack or registers, as they were published last */
	REACH_PAST,   /* the same; what leads there is the address one past its end */
	REACH_SOURCES,
};

/* In `from`: a root led here. */
#define REACH_ROOT_MIN (UINT32_MAX - REACH_SOURCES)

struct reach_step {
	uint64_t start; /* of the object */
	uint32_t from;  /* the step whose object led here; or REACH_ROOT_MIN plus the source */
	uint32_t word;  /* of that object; or the root's number, or its process */
};

struct reach {
	struct heap *heap;
	const uint64_t *closed; /* by slab: slots that hold nothing, though they are out; or NULL */
	uint64_t *seen;         /* by slab */
	uint64_t seen_bytes;
	struct reach_step *steps; /* in the order in which they were found: the shortest way comes first */
	uint64_t n, room, done;
	uint64_t objects, bytes; /* of what was found and is an object */
	uint64_t lost;           /* exact words that lead to where no slot is; the first of them: */
	struct reach_step lost_first;
	bool failed; /* out of memory */
};

/* -ENOMEM. closed: see above; it must outlive the reach. */
int reach_init(struct reach *reach, struct heap *heap, const uint64_t *closed);
void reach_deinit(struct reach *reach);

/* What named roots, tickets, queues of the dead, pins and addresses on their way to clients hold. */
void reach_add_exact(struct reach *reach);
/* What stacks and registered ranges held when they were published last: hints, some of them out of date. */
void reach_add_published(struct reach *reach);

#define REACH_EVERYTHING UINT64_MAX

/* Follows what was added, until the object at this offset is found: its step. REACH_EVERYTHING: all of it; then UINT64_MAX. */
uint64_t reach_run(struct reach *reach, uint64_t until);

/*
 * Whether the word that led to the step, and those before it, still lead there: clients write on meanwhile. Of a long way the last
 * part is looked at.
 */
bool reach_stands(const struct reach *reach, const struct reach_step *step);

/* Any word to the slot that it points into, at its start or inside it. */
bool reach_find(const struct heap *heap, uint64_t word, struct reach_slot *slot);
/* Of a slot's start. */
struct reach_slot reach_slot_at(const struct heap *heap, uint64_t start);

/* Whether the slot is given out, so that it may hold an object. */
bool reach_is_out(const struct heap *heap, const struct reach_slot *slot);
bool reach_was_seen(const struct reach *reach, const struct reach_slot *slot);

/* An object's type and size; its words; whether word i of them is a pointer, exactly or perhaps. */
const struct heapd_type_record *reach_type(const struct heap *heap, const struct reach_slot *slot);
uint64_t reach_words(const struct heap *heap, const struct reach_slot *slot);
uint64_t reach_read(const struct heap *heap, const struct reach_slot *slot, uint64_t word);

enum reach_field { REACH_NO_POINTER, REACH_PERHAPS, REACH_POINTER };
enum reach_field reach_field(const struct heap *heap, const struct reach_slot *slot, uint64_t word);

#endif
