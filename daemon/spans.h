/* SPDX-License-Identifier: MIT */
/*
 * Spans: made from pages, cut for a class, given back whole. Only this file changes the span table and
 * page_span. Guarded by heap->lock.
 */
#ifndef HEAPD_SPANS_H
#define HEAPD_SPANS_H

#include "bits.h"
#include "heap.h"
#include "ledger.h"
#include "pages.h"
#include "runmap.h"

#define SPAN_SLABS_MAX 256u
#define SPAN_NONE      UINT32_MAX
#ifndef SPAN_QUARTERS
#define SPAN_QUARTERS 4u
#endif

/* What the daemon keeps beside the record of a span: derived, rebuilt from the ledger. */
struct span_state {
	uint64_t ready[SPAN_SLABS_MAX / 64];  /* slabs with free slots that lie in no ring */
	uint64_t ringed[SPAN_SLABS_MAX / 64]; /* slabs that lie in a ring */
	uint64_t used[SPAN_SLABS_MAX / 64];   /* slabs that were ever supplied */
	uint32_t next, prev;                  /* in its class's list of spans with ready slabs, by quarter */
	uint32_t busy;                        /* slabs of which something is out */
	uint32_t out;                         /* slots that are out */
	uint8_t quarter;                      /* 0: more than three quarters of its slots are out ... */
	bool listed;
	bool zeroed; /* its pages were all zero when it was cut */
	bool lost;   /* in quarantine (quarantine.h): nothing of it is ready, and it is never freed */
};

struct spans {
	struct heap *heap;
	struct ledger *ledger;
	struct pages *pages;
	struct runmap numbers;      /* slab numbers, in units of HEAPD_SLAB_UNIT */
	struct span_state **states; /* by first page; sparse */
	uint32_t ready[SPAN_QUARTERS]
		      [HEAPD_CLASS_MAX]; /* first span with ready slabs, or SPAN_NONE; the fullest first */
};

int spans_init(struct spans *spans, struct heap *heap, struct ledger *ledger, struct pages *pages);
void spans_deinit(struct spans *spans);

/* Cuts a new span for a small class; all its slabs are ready. -ENOMEM. */
int spans_cut(struct spans *spans, uint32_t class, uint32_t *first);
/* A span for one large object of `bytes`: its one slot is out. -ENOMEM. */
int spans_cut_large(struct spans *spans, uint32_t class, uint64_t bytes, uint64_t align, uint32_t *first,
		    bool *zeroed);
/* Gives a span's pages back. Nothing of it may be out or in a ring. */
void spans_free(struct spans *spans, uint32_t first);

/*
 * Marks slots of slab k as out, or as free again, in the ledger: the only two places that change it.
 * Both keep the span's counts and its place among the spans with ready slabs. Only bits that change
 * count; both return them.
 */
uint64_t spans_slots_out(struct spans *spans, uint32_t first, uint32_t k, uint64_t mask);
uint64_t spans_slots_free(struct spans *spans, uint32_t first, uint32_t k, uint64_t mask);
/* The same of all slabs, masks[k] of slab k, with one look at the span's place. How many bits changed. */
uint64_t spans_slots_free_each(struct spans *spans, uint32_t first, const uint64_t *masks);

/* Nothing of the span is supplied or given back any more. */
void spans_lose(struct spans *spans, uint32_t first);

/* The slab lies in a ring from now on, or no more. */
void spans_slab_ringed(struct spans *spans, uint32_t first, uint32_t k, bool ringed);

/* True if no slot of the span is out (so none lies in a ring, a current slab or a spare either), and it may be freed. */
static inline bool spans_is_unused(const struct spans *spans, uint32_t first)
{
	return spans->states[first]->busy == 0 && !spans->states[first]->lost;
}

void spans_list(struct spans *spans, uint32_t first);
void spans_unlist(struct spans *spans, uint32_t first);

/* The span that the class is supplied from next: one of the fullest that have ready slabs, or SPAN_NONE. */
static inline uint32_t spans_ready(const struct spans *spans, uint32_t class)
{
	uint32_t quarter = 0;

	while (quarter < SPAN_QUARTERS - 1 && spans->ready[quarter][class] == SPAN_NONE)
		quarter++;
	return spans->ready[quarter][class];
}

/* Where in the lists a span belongs that has so many of its slots out. */
static inline uint8_t spans_quarter(uint32_t out, uint32_t nslots)
{
	uint32_t quarter = out * SPAN_QUARTERS / nslots;

	return (uint8_t)(quarter < SPAN_QUARTERS ? SPAN_QUARTERS - 1 - quarter : 0);
}

static inline struct span_state *span_state_of(const struct spans *spans, uint32_t first)
{
	return spans->states[first];
}

#endif
