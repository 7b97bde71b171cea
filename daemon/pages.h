/* SPDX-License-Identifier: MIT */
/*
 * The page heap: which pages are in no span, and which memory is committed. Guarded by heap->lock.
 */
#ifndef HEAPD_PAGES_H
#define HEAPD_PAGES_H

#include "heap.h"
#include "ledger.h"
#include "runmap.h"

/* A chunk on its way to being committed. */
struct pages_commit {
	uint64_t chunk, ns;
	bool try_huge, huge;
	int error;
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
	uint64_t punched;   /* pages that are taken, in no span: on their way to the system, or from it */
	struct pages_commit ahead; /* the supplier's, without the lock, while ... */
	bool is_ahead;           /* ... it stands: ahead.chunk is out of the map of free pages, and charged */
	bool collapse_fails;     /* huge pages were refused lately: small ones are used */
	uint32_t until_collapse; /* commits until huge pages are tried again */
};

int pages_init(struct pages *pages, struct heap *heap);
void pages_deinit(struct pages *pages);

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
 * The supplier alone: commits at most one chunk, or what is gone of one, ahead of need. The second step needs no lock, and nobody
 * takes pages of that chunk meanwhile. begin: false: there is nothing to do. end: true: there may be more.
 */
bool pages_ahead_begin(struct pages *pages);
void pages_ahead_commit(struct pages *pages);
bool pages_ahead_end(struct pages *pages);
/* Less lies ahead than is to. */
bool pages_are_short(const struct pages *pages);
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
