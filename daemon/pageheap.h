/* SPDX-License-Identifier: MIT */
/*
 * The page heap: which pages are in no span, and which memory is committed. Guarded by heap->lock. What is done to it stands in pages.h,
 * commit.h, ahead.h, clean.h and idle.h.
 */
#ifndef HEAPD_PAGEHEAP_H
#define HEAPD_PAGEHEAP_H

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

/* What is cleared ahead of need: clean.c. */
struct pages_clean {
	uint64_t wanted;   /* pages that large objects took since the last collection */
	uint64_t budget;   /* pages that are to be cleared still ... */
	uint64_t from;     /* ... from this one on */
	uint64_t first, n; /* what the scavenger's thread clears, without the lock */
	bool in_hand;      /* it is out of the map of free pages */
	uint32_t busy;     /* a futex */
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
	struct pages_clean clean;
	struct collapser
		*collapser;  /* by which huge pages are made, by the scavenger's thread alone, which ... */
	uint32_t bell;       /* ... is to look when this is 1 */
	uint64_t small_from; /* where it looks for the next free chunk that is to become a huge page ... */
	uint64_t used_from;  /* ... and for the next one in use */
	bool collapse_fails; /* huge pages were refused lately: small ones are used */
	uint32_t until_collapse; /* commits until huge pages are tried again */
};

/* What is committed: chunks, less the pages of them that are gone. */
static inline uint64_t pages_committed_bytes(const struct pages *pages)
{
	return (pages->committed_chunks << HEAPD_CHUNK_SHIFT) - (pages->gone_pages << HEAPD_PAGE_SHIFT);
}

/* Of a chunk, the first page that can ever be free. */
static inline uint64_t pages_chunk_begin(const struct pages *pages, uint64_t chunk)
{
	return chunk ? chunk * HEAPD_CHUNK_PAGES : pages->base_is_barred;
}

#endif
