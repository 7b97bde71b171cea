/* SPDX-License-Identifier: MIT */
/*
 * spans.h - the spans of a heap as they are at one moment, each checked.
 */
#ifndef HEAPCTL_SPANS_H
#define HEAPCTL_SPANS_H

#include "ctl.h"
#include "holes.h"
#include "store.h"

struct span_copy {
	struct heapd_span span;
	uint32_t page;  /* its first */
	uint32_t slabs; /* 0: nobody has ever given out a slot of it */
	uint64_t first; /* place of its first slot among all slots of all spans */
	bool gone;      /* its pages have become another's since (graph.c) */
};

struct spans {
	struct store store;
	struct span_copy *list; /* by address */
	size_t n, room;
	uint64_t slots;  /* of all */
	uint64_t pages;  /* of the heap */
	uint64_t broken; /* records that made no sense, left out */
	uint32_t wrong;  /* page table entry of the last one left out */
	struct holes heap, directory;
};

/* An exit status; says what is wrong, that broken records are left out included. */
int spans_load(const struct ctl *ctl, struct spans *spans);
void spans_free(struct spans *spans);

/*
 * The span at that page as the directory has it now, which may have been cut after the others were looked at: added at
 * the list's end. NULL: there is none, or its record makes no sense.
 */
const struct span_copy *spans_look(const struct ctl *ctl, struct spans *spans, uint64_t page);

/* Whether the directory still has that span; it asks the memory, so only of one that was read. */
bool span_stands(const struct ctl *ctl, const struct span_copy *s);

/* Looks again whether slots of a span that had no slabs have been given out since: from then on it has them. */
bool spans_awake(const struct ctl *ctl, struct spans *spans, uint32_t place);

/* Slots of slab k that are given out. */
static inline uint64_t span_out(const struct ctl *ctl, const struct span_copy *s, uint32_t k)
{
	return HEAPD_READ_ONCE(ctl->heap->t.out[s->span.slab0 + k]) & heapd_slab_valid(&s->span, k);
}

static inline uint64_t span_address(const struct ctl *ctl, const struct span_copy *s)
{
	return ctl->heap->t.base + ((uint64_t)s->page << HEAPD_PAGE_SHIFT);
}

/* Of the slot at an address, as the directory has it now. False: there is none. */
struct slot_state {
	bool out, sampled;
	uint64_t start; /* the object's address */
	uint32_t class;
};
bool slot_look(const struct ctl *ctl, uint64_t address, struct slot_state *state);

uint64_t span_out_slots(const struct ctl *ctl, const struct span_copy *s);

/* "order", "order[]": the type and kind of a class, for people. */
struct class_name {
	char text[HEAPD_NAME_MAX + 8];
};
struct class_name class_name(const struct ctl *ctl, uint32_t class);

#endif
