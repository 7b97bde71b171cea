/* SPDX-License-Identifier: MIT */
/*
 * Supply: the rings, what is put into them and what comes back. Everything here is guarded by
 * heap->lock; the supplier thread and the main thread both work under it.
 */
#ifndef HEAPD_DAEMON_SUPPLY_H
#define HEAPD_DAEMON_SUPPLY_H

#include <pthread.h>

#include "heap.h"
#include "held.h"
#include "ledger.h"
#include "pages.h"
#include "spans.h"

#ifndef SUPPLY_SECOND_NS /* a test build may have it pass faster */
#define SUPPLY_SECOND_NS 1000000000u
#endif
#define SUPPLY_NAP_NS      1000000u     /* between rounds while something is being taken, at most ... */
#define SUPPLY_NAP_CALM_NS 4000000u     /* ... but this where little is ... */
#define SUPPLY_NAP_MIN_NS  30000u       /* ... and at least */
#define SUPPLY_CLASS_BYTES (16ul << 20) /* no ring's target is above this */
#define SUPPLY_BURST_MIN   (4ul << 20)  /* rings grow by new memory to this, or to ... */
#define SUPPLY_BURST_SHARE 8u           /* ... this share of what is committed */
#ifndef SUPPLY_STRANDED_MIN
#define SUPPLY_STRANDED_MIN (4ul << 20)
#endif

struct supply_class {
	uint64_t target;                  /* bytes that the ring is filled to; 0: the class is not supplied */
	uint64_t bytes;                   /* free bytes in the ring */
	uint64_t worst_now, worst_before; /* most bytes taken between two looks, this second and the last */
	uint64_t last_taken;              /* when */
	uint64_t await; /* refused only when as many cycles have finished; 0: it has not run dry */
	uint64_t taken_ever, taken_before, looked; /* bytes; as of the last look; when that was */
	bool owed; /* perhaps somebody waits whom the last event did not wake */
};

struct freed_word {
	uint32_t slab;
	uint64_t bits;
};

struct supply {
	struct heap *heap;
	struct ledger ledger;
	struct pages pages;
	struct spans spans;
	struct supply_class classes[HEAPD_CLASS_MAX];
	uint64_t active[HEAPD_CLASS_MAX / 64]; /* classes with a target or entries in their ring */
	uint64_t ring_bytes;                   /* of all rings */
	uint64_t given;                        /* bytes ever put into them */
	struct held held;
	struct freed_word *freed; /* a pass's harvest before it is judged */
	uint32_t freed_count, freed_room;
	uint64_t last_taken; /* when anything was */
	uint64_t last_harvest, last_tick;
	uint64_t harvest_end, harvest_took; /* of the last harvest_some() */
	uint64_t harvest_word;              /* where the next one begins */
	uint32_t harvest_client;
	uint32_t begin;   /* the class that the next round begins with */
	bool scraped;     /* memory was looked for in this round */
	bool awaiting;    /* a class waits for a cycle */
	uint64_t idle_ns; /* spent in rounds that did nobody any good, and not rested from */
	uint64_t nap;     /* nanoseconds until the next look */
	uint64_t taken;   /* bytes, of all classes, found by this look, ... */
	uint64_t looked;  /* ... and when the last one was */
	unsigned portion; /* of those who wait for a class, as many are woken at once */
	struct log_limit double_free_limit, misfree_limit;
	uint64_t last_misfree; /* when clients' counts were looked at */
	struct visit *visit;
	struct takers *takers;
	pthread_t thread;
	bool started, running;
	bool stop;
};

/* Slots of slab k: half of all that it has, or more. */
static inline bool supply_is_most(const struct heapd_span *span, uint32_t k, uint64_t slots)
{
	return 2 * __builtin_popcountll(slots) >= __builtin_popcountll(heapd_slab_valid(span, k));
}

/* Makes the heap's ledger, pages and spans; starts the supplier thread; or both. */
int supply_init(struct heap *heap);
int supply_run(struct heap *heap);
int supply_start(struct heap *heap);
void supply_stop(struct heap *heap);
/* Where no supplier runs: one round of its work. Returns how long it would rest then. Takes heap->lock. */
uint64_t supply_round(struct heap *heap);

/* demand.c, with heap->lock held: */
/* A round: serves what clients ask for, and what runs low. Nanoseconds until the next one. */
uint64_t supply_serve(struct supply *supply);
/* When the page heap refuses: everything freed, everything unused, everything lying in other rings than that of `class`. */
void supply_scrape(struct supply *supply, uint32_t class);
/* Memory was refused: counts it, and says so. */
void supply_refused(struct heap *heap, uint32_t class, uint64_t bytes);
/* The heap has grown to where the next cycle is to begin? Asked for once: the cycle sets the next trigger. */
void supply_look_at_pace(struct supply *supply);

/*
 * A large object: takes heap->lock. -ENOMEM at the limit. client: whom the address is for, by its place in
 * heap->clients; the object is held for it until the reply has arrived.
 */
int supply_large(struct heap *heap, uint32_t class, uint64_t bytes, uint64_t align, unsigned client,
		 uint64_t *address, bool *zeroed);
/* Harvests everything freed or handed back up to now: takes heap->lock. -EAGAIN: not while a cycle is under way. */
int supply_sync(struct heap *heap);
/* Collects what a session handed back, before it ends. With heap->lock held. */
void supply_collect_handback(struct heap *heap, const struct client *client);

/* ring.c, with heap->lock held: */
void ring_note_taken(struct supply *supply, uint32_t class, uint64_t now);
void ring_note_all(struct supply *supply, uint64_t now);
/* Fills the class's ring up to its target. -ENOMEM if not one entry could be put in and the ring is empty. */
int ring_fill(struct supply *supply, uint32_t class);
/* Takes entries back until at most `keep` bytes lie in the ring. */
void ring_withdraw(struct supply *supply, uint32_t class, uint64_t keep);

/* harvest.c, with heap->lock held: */
/* whole: all of it, however long it takes; else a piece, and the next one next time. */
void harvest_freed(struct supply *supply, bool whole);
void harvest_handback(struct supply *supply, bool whole);
/* All that any client shows, whether it says that there is something or not. */
void harvest_handback_again(struct supply *supply);
/* A piece of both, unless the last one was just now: a quarter of the time goes into it at most. */
void harvest_some(struct supply *supply, uint64_t now);
/* Slots of slab k that lie in its class's ring. */
uint64_t harvest_ringed(const struct supply *supply, uint32_t first, uint32_t k);
/* Slots of slab k come back to the ledger; a span that is wholly free goes back to the page heap. */
uint64_t harvest_release(struct supply *supply, uint32_t first, uint32_t k, uint64_t mask);
/* The same of all slabs of a span, masks[k] of slab k, in the midst of a sweep. */
uint64_t harvest_release_swept(struct supply *supply, uint32_t first, const uint64_t *masks);
/* The span goes back to the page heap if nothing of it is out, unless it is its class's next refill. */
void harvest_unused_span(struct supply *supply, uint32_t first);
/* Spans that were kept for their class's next refill, of classes that are not supplied any more. */
void harvest_unused_spans(struct supply *supply, uint32_t class);

#endif
