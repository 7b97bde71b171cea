/* SPDX-License-Identifier: MIT */
/*
 * Owns the giving back of memory to the system.
 *
 * What is punched is taken out of the map of free pages first, under the lock, so nobody can be
 * given memory that is about to vanish; its bits say gone and clean when it is put back. The ledger says meanwhile
 * which pages those are: a daemon that finds them there takes them for gone, and dirty. They are of one chunk at a time.
 * Chunks that are wholly free go whole. Of others, free pages go where small pages are used; a huge page is broken up when
 * half of it has been idle. Pages that are gone come back when they are taken, or, ahead of need, before any new chunk.
 */
#include "idle.h"

#include <string.h>

#include "ahead.h"
#include "bits.h"
#include "commit.h"
#include "heapd/probes.h"

#define HOLE_WORDS    LEDGER_HOLE_WORDS
#define HOLE_MIN      4u                      /* neighbouring pages: less is not worth a system call */
#define HOLE_HUGE_MIN (HEAPD_CHUNK_PAGES / 2) /* pages of a huge one that have to be idle */

/* Free, and either gone or found idle, all of it. */
static bool chunk_is_idle(const struct pages *pages, uint64_t chunk)
{
	uint64_t first = chunk * HOLE_WORDS;

	for (uint64_t w = first; w < first + HOLE_WORDS; w++)
		if ((pages->free.bits[w] & (pages->idle[w] | pages->gone[w])) != UINT64_MAX)
			return false;
	return true;
}

static uint64_t hole_pages(const uint64_t bits[HOLE_WORDS])
{
	uint64_t n = 0;

	for (unsigned w = 0; w < HOLE_WORDS; w++)
		n += (uint64_t)__builtin_popcountll(bits[w]);
	return n;
}

/* Runs of idle pages, if that is worth it; a chunk that is wholly free goes whole, what is gone of it already, too. */
static bool hole_find(const struct pages *pages, uint64_t chunk, uint64_t bits[HOLE_WORDS])
{
	uint64_t first = chunk * HOLE_WORDS;

	if (chunk_is_idle(pages, chunk)) {
		memset(bits, 0xff, HOLE_WORDS * sizeof(*bits));
		return true;
	}
	for (unsigned w = 0; w < HOLE_WORDS; w++)
		bits[w] = pages->free.bits[first + w] & pages->idle[first + w] & ~pages->gone[first + w];
	for (uint64_t at = 0, n; at < HEAPD_CHUNK_PAGES; at += n + 1) {
		n = bits_run(bits, at, HEAPD_CHUNK_PAGES, true);
		for (uint64_t i = at; n < HOLE_MIN && i < at + n; i++)
			bits_clear(bits, i);
	}
	return hole_pages(bits) >= (bits_get(pages->huge, chunk) ? HOLE_HUGE_MIN : HOLE_MIN);
}

/* Whether so much can go, and what lies ahead of need stays. */
static bool may_go(const struct pages *pages, uint64_t chunk, const uint64_t bits[HOLE_WORDS])
{
	uint64_t there[HOLE_WORDS];

	for (unsigned w = 0; w < HOLE_WORDS; w++)
		there[w] = bits[w] & ~pages->gone[chunk * HOLE_WORDS + w];
	return ahead_pages(pages) >= ahead_reserve(pages) + hole_pages(there);
}

/* Out of the map of free pages; false if one of them is not in it. */
static bool hole_claim(struct pages *pages)
{
	const struct ledger_hole *hole = &pages->head->hole;
	uint64_t first = (hole->chunk - 1) * HEAPD_CHUNK_PAGES;

	for (uint64_t at = 0, n; at < HEAPD_CHUNK_PAGES; at += n + 1) {
		n = bits_run(hole->pages, at, HEAPD_CHUNK_PAGES, true);
		if (n && runmap_claim(&pages->free, first + at, n) < 0)
			return false;
		pages->punched += n;
	}
	return true;
}

static void hole_close(struct pages *pages, uint64_t chunk, const uint64_t bits[HOLE_WORDS])
{
	for (uint64_t at = 0, n; at < HEAPD_CHUNK_PAGES; at += n + 1) {
		n = bits_run(bits, at, HEAPD_CHUNK_PAGES, true);
		if (n)
			runmap_give(&pages->free, chunk * HEAPD_CHUNK_PAGES + at, n);
		pages->punched -= n;
	}
}

/* The highest chunks would be the best to give back; the lowest are found first, and taken first. */
bool pages_idle_take(struct pages *pages, uint64_t *from)
{
	struct ledger_hole *hole = &pages->head->hole;

	for (uint64_t c = *from; c < pages->chunks && ahead_pages(pages) > ahead_reserve(pages); c++) {
		if (!bits_get(pages->committed, c) || ahead_has(pages, c) ||
		    !hole_find(pages, c, hole->pages) || !may_go(pages, c, hole->pages))
			continue;
		HEAPD_STORE_RELEASE(&hole->chunk, c + 1);
		*from = c + 1;
		return hole_claim(pages);
	}
	return false;
}

/* What is gone of it already was given back then. */
static uint64_t chunk_is_gone(struct pages *pages, uint64_t chunk)
{
	uint64_t *gone = &pages->gone[chunk * HOLE_WORDS], before = hole_pages(gone);

	bits_clear(pages->committed, chunk);
	pages->committed_chunks--;
	pages->gone_pages -= before;
	memset(gone, 0, HOLE_WORDS * sizeof(*gone));
	return HEAPD_CHUNK_PAGES - before;
}

static uint64_t pages_are_gone(struct pages *pages, uint64_t chunk, const uint64_t bits[HOLE_WORDS])
{
	uint64_t n = hole_pages(bits);

	for (unsigned w = 0; w < HOLE_WORDS; w++)
		pages->gone[chunk * HOLE_WORDS + w] |= bits[w];
	pages->gone_pages += n;
	if (chunk < pages->gone_from)
		pages->gone_from = chunk;
	return n;
}

static void hole_is_gone(struct pages *pages, uint64_t chunk, const uint64_t bits[HOLE_WORDS])
{
	uint64_t n, bytes;

	for (unsigned w = 0; w < HOLE_WORDS; w++)
		pages->dirty[chunk * HOLE_WORDS + w] &= ~bits[w];
	pages->huge_chunks -= bits_get(pages->huge, chunk);
	bits_clear(pages->huge, chunk);
	n = hole_pages(bits);
	n = n == HEAPD_CHUNK_PAGES ? chunk_is_gone(pages, chunk) : pages_are_gone(pages, chunk, bits);
	bytes = n << HEAPD_PAGE_SHIFT;
	account_give(&pages->heap->part, bytes);
	HEAPD_COUNT(pages->heap->t.directory->stats.returned, bytes);
	HEAPD_PROBE(heap__return, pages->heap->name, bytes, pages_committed_bytes(pages));
}

void pages_idle_give(struct pages *pages, bool punched)
{
	struct ledger_hole hole = pages->head->hole;
	uint64_t chunk = hole.chunk - 1;

	for (unsigned w = 0; w < HOLE_WORDS; w++)
		pages->idle[chunk * HOLE_WORDS + w] &= ~hole.pages[w];
	if (punched)
		hole_is_gone(pages, chunk, hole.pages);
	HEAPD_STORE_RELEASE(&pages->head->hole.chunk, 0);
	hole_close(pages, chunk, hole.pages);
	commit_publish(pages);
}

void pages_idle_keep(struct pages *pages)
{
	hole_claim(pages);
}

void pages_idle_note(struct pages *pages)
{
	for (uint64_t c = 0; c < pages->chunks; c++)
		for (uint64_t w = c * HOLE_WORDS; bits_get(pages->committed, c) && w < (c + 1) * HOLE_WORDS;
		     w++)
			pages->idle[w] = pages->free.bits[w] & ~pages->gone[w];
}
