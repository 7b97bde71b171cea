/* SPDX-License-Identifier: MIT */
/*
 * The page heap: which pages are in no span, and which memory is committed. Guarded by heap->lock.
 */
#ifndef HEAPD_PAGES_H
#define HEAPD_PAGES_H

#include "collapser.h"
#include "heap.h"
#include "ledger.h"
#include "runmap.h"

/* A chunk on its way to being committed. */
struct pages_commit {
	uint64_t chunk, ns;
	bool try_huge, huge, no_room; /* the system has no room for a huge page */
	int error;
};

/* Who commits ahead of need: the supplier, and, with huge pages, the scavenger's thread. */
enum pages_who { PAGES_SUPPLIER, PAGES_SCAVENGER, PAGES_WHO };

/* What one of them has in hand without the lock. */
struct pages_ahead {
	struct pages_commit commit; /* the chunk is out of the map of free pages, and charged */
	bool is_on;
	bool was_there; /* it was committed before, as small pages: it becomes a huge one */
	bool taken;     /* it is in the map, and committed: it was in use, or somebody found no other room */
};

struct pages {
	struct heap *heap;
	struct runmap free;
	struct ledger_head *head;
	uint64_t *committed; /* the ledger's: one bit a chunk */
	uint64_t *huge;      /* the ledger's: one bit a chunk: as a huge page */
	uint64_t *dirty;     /* the ledger's: one bit a page: may hold something other than zero */
	uint64_t *gone; /* the ledger's: one bit a page of a committed chunk: given back to the system by itself */
	uint64_t *idle; /* one bit a page: free and there when last looked at, and not taken since */
	uint64_t chunks;
	uint64_t committed_chunks;
	uint64_t huge_chunks;
	uint64_t gone_pages;
	uint64_t gone_from; /* no page is gone in a chunk below this */
	uint64_t in_spans;  /* pages */
	uint64_t reserve;   /* chunks that are committed ahead of need, less one */
	bool was_short;     /* that was not enough, since pages_calm() */
	uint64_t punched; /* pages that are taken, in no span: on their way to the system, or from it; or for good */
	bool base_is_barred; /* ... the heap's first one */
	struct pages_ahead ahead[PAGES_WHO];
	struct collapser
		*collapser;  /* by which huge pages are made, by the scavenger's thread alone, which ... */
	uint32_t bell;       /* ... is to look when this is 1 */
	uint64_t small_from; /* where it looks for the next free chunk that is to become a huge page ... */
	uint64_t used_from;  /* ... and for the next one in use */
	bool collapse_fails; /* huge pages were refused lately: small ones are used */
	uint32_t until_collapse; /* commits until huge pages are tried again */
};

int pages_init(struct pages *pages, struct heap *heap);
void pages_deinit(struct pages *pages);

/* From now on no object begins where the heap does, unless one does so already. */
void pages_bar_base(struct pages *pages);

/*
 * Takes n committed pages, the first on a multiple of align pages. *zeroed: all of them are known to
 * hold zero. -ENOMEM: the limit is reached, by the account or by the address space.
 */
int pages_take(struct pages *pages, uint64_t n, uint64_t align, uint64_t *first, bool *zeroed);
void pages_give(struct pages *pages, uint64_t first, uint64_t n);

/* What is committed: chunks, less the pages of them that are gone. */
static inline uint64_t pages_committed_bytes(const struct pages *pages)
{
	return (pages->committed_chunks << HEAPD_CHUNK_SHIFT) - (pages->gone_pages << HEAPD_PAGE_SHIFT);
}

/*
 * Commits at most one chunk, or what is gone of one, ahead of need. The second step needs no lock; nobody takes pages of that chunk meanwhile, unless
 * there are no others: then it is committed at once. begin: false: there is nothing to do. end: true: there may be more.
 */
bool pages_ahead_begin(struct pages *pages, enum pages_who who);
void pages_ahead_commit(struct pages *pages, enum pages_who who);
bool pages_ahead_end(struct pages *pages, enum pages_who who);
/* As above, of a chunk that is free, and committed as small pages. What is left to look at is looked at next time. */
bool pages_huge_begin(struct pages *pages);
/* As above, of one that is in use almost whole. Who touches it while it is made waits for that: not too often. */
bool pages_used_begin(struct pages *pages);

/* From now on the scavenger's thread makes huge pages, by this, and nobody else does; NULL: no more. */
void pages_scavenged(struct pages *pages, struct collapser *collapser);
/* Wakes it if there is something to do ahead of need. */
void pages_ring(struct pages *pages);
/* Less lies ahead than is to; for the supplier beside a scavenger: so little that it does not wait for that one. */
bool pages_are_short(const struct pages *pages, enum pages_who who);
/* Once a second: what lies ahead is halved unless it was short meanwhile. */
void pages_calm(struct pages *pages);

/*
 * Giving back to the system, from one chunk at a time; which pages they are stands in the ledger meanwhile (head->hole). Taking: of a
 * chunk, from number *from on, the pages that are free and were so when noted last: nobody can take them until they are
 * given; false if there are none that are worth it, or what is committed ahead of need would be touched. Giving: their
 * memory is gone, or (punched false) is as it was.
 */
bool pages_idle_take(struct pages *pages, uint64_t *from);
void pages_idle_give(struct pages *pages, bool punched);
/* Those that were taken before the daemon was born: they are given as any other. */
void pages_idle_keep(struct pages *pages);
/* Notes which pages are free now. */
void pages_idle_note(struct pages *pages);

#endif
