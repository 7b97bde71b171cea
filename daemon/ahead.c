/* SPDX-License-Identifier: MIT */
/*
 * Owns what is committed ahead of need, and which chunks become huge pages.
 *
 * Huge pages are made ahead of need, by the scavenger's thread, for which nobody waits, and by a process that it waits for (collapser.h): before
 * the kernel takes memory together it waits for a worker on each processor: 0.2 ms on an idle machine, a few ms where
 * another thread runs its time out on one of them, and seconds have been seen. On demand, and where little is left of what lies ahead, small pages are committed; a chunk
 * of those becomes a huge page when it is found free (pages_huge_begin()), or in use almost whole (pages_used_begin()): a heap that grew fast would
 * have small ones for ever. A heap that has no such thread makes huge pages on demand, too.
 *
 * Whoever commits ahead of need holds no lock while the kernel clears the memory, which can be a matter of milliseconds: a
 * collection and who asks for a large object would wait for that. The chunk is charged, and out of the map of free pages, meanwhile;
 * so nobody else has it in hand, and a daemon that dies leaves what it would have left under the lock: pages
 * that are there, and of which the ledger does not say so. Who finds no other room, at the limit, does not wait either: it takes the chunk
 * over (ahead_take_over()), and has it as small pages. Right because to populate, and to take together, leave what is in memory as it
 * is, whoever uses it: the chunk is in the map again and counted, and he who had it in hand says no more of it than that it is huge.
 * For the same reason a chunk in use can be taken together, and is taken over from the beginning: nothing of it leaves the map. None of it may
 * be gone, which would come back uncounted, or on its way to the system; and both are for the scavenger's thread alone to begin.
 */
#include "ahead.h"

#include <errno.h>

#include "bits.h"
#include "clock.h"
#include "commit.h"

#define HOLE_WORDS  LEDGER_HOLE_WORDS
#define RESERVE_MAX 32u /* chunks: 64 MiB */
#define SCARCE_PART \
	4u /* of what is to lie ahead: with less, small pages now are better than huge ones later */
#define USED_FREE_MAX (HEAPD_CHUNK_PAGES / 8) /* more of them free: they are given back one by one */

/* Into the map of free pages again. */
static void ahead_give(struct pages *pages, const struct pages_ahead *ahead)
{
	uint64_t first = pages_chunk_begin(pages, ahead->commit.chunk),
		 n = (ahead->commit.chunk + 1) * HEAPD_CHUNK_PAGES - first;

	pages->punched -= n;
	runmap_give(&pages->free, first, n);
}

/* Committed here and now, whatever he who began it still does with it. */
static bool ahead_take(struct pages *pages, struct pages_ahead *ahead)
{
	struct pages_commit c = { .chunk = ahead->commit.chunk };

	if (!ahead->was_there)
		commit_populate(pages, &c);
	if (c.error < 0)
		return false;
	ahead->taken = true;
	ahead_give(pages, ahead);
	if (!ahead->was_there)
		commit_is_there(pages, &c);
	return true;
}

/* A chunk that somebody has in hand. */
bool ahead_take_over(struct pages *pages)
{
	for (unsigned who = 0; who < PAGES_WHO; who++)
		if (pages->ahead[who].is_on && !pages->ahead[who].taken)
			return ahead_take(pages, &pages->ahead[who]);
	return false;
}

/* Not enough lay ahead: as with rings, twice as much will, up to an eighth of what is committed, and to 64 MiB. */
void ahead_raise(struct pages *pages)
{
	uint64_t most = pages->committed_chunks / 8 < RESERVE_MAX ? pages->committed_chunks / 8 : RESERVE_MAX,
		 twice = pages->reserve * 2 + 1;

	pages->reserve = twice < most ? twice : most;
	pages->was_short = true;
}

uint64_t ahead_reserve(const struct pages *pages)
{
	return (1 + pages->reserve) * HEAPD_CHUNK_PAGES;
}

void ahead_ring(struct pages *pages)
{
	if (!__atomic_exchange_n(&pages->bell, 1, __ATOMIC_SEQ_CST))
		futex_wake_all(&pages->bell);
}

void pages_calm(struct pages *pages)
{
	if (!pages->was_short)
		pages->reserve /= 2;
	pages->was_short = false;
	/* What was in use a second ago may be free. */
	if (pages->collapser && !pages->collapse_fails && pages->huge_chunks < pages->committed_chunks)
		ahead_ring(pages);
}

/* Free pages that are there. */
uint64_t ahead_pages(const struct pages *pages)
{
	uint64_t there = pages->committed_chunks * HEAPD_CHUNK_PAGES - pages->gone_pages,
		 taken = pages->in_spans + pages->punched;

	return there > taken ? there - taken : 0;
}

/* What is gone of the lowest chunk. */
static bool commit_gone_ahead(struct pages *pages)
{
	for (; pages->gone_from < pages->chunks; pages->gone_from++) {
		uint64_t first = pages->gone_from * HEAPD_CHUNK_PAGES;

		if (bits_get(pages->committed, pages->gone_from) &&
		    bits_run(pages->gone, first, first + HEAPD_CHUNK_PAGES, false) < HEAPD_CHUNK_PAGES)
			return commit_gone(pages, first, HEAPD_CHUNK_PAGES) == 0;
	}
	return false;
}

/* Of the 64 from `chunk` on: those that are not committed, and that nobody has in hand. */
static uint64_t missing_chunks(const struct pages *pages, uint64_t chunk)
{
	uint64_t missing = ~pages->committed[chunk / 64];

	for (unsigned who = 0; who < PAGES_WHO; who++)
		if (pages->ahead[who].is_on && pages->ahead[who].commit.chunk / 64 == chunk / 64)
			bits_clear(&missing, pages->ahead[who].commit.chunk % 64);
	return missing;
}

/* The lowest chunk that is not committed, or pages->chunks. All of its pages are free. */
static uint64_t next_chunk(const struct pages *pages)
{
	for (uint64_t chunk = 0; chunk < pages->chunks; chunk += 64) {
		uint64_t missing = missing_chunks(pages, chunk);

		if (missing)
			chunk += (uint64_t)__builtin_ctzll(missing);
		if (missing)
			return chunk < pages->chunks ? chunk : pages->chunks;
	}
	return pages->chunks;
}

bool pages_are_short(const struct pages *pages, enum pages_who who)
{
	uint64_t enough = ahead_reserve(pages);

	if (pages->collapser && who != PAGES_SCAVENGER)
		enough /= SCARCE_PART;
	return pages->in_spans && ahead_pages(pages) < enough;
}

static bool in_hand(struct pages *pages, struct pages_ahead *ahead)
{
	uint64_t first = pages_chunk_begin(pages, ahead->commit.chunk),
		 n = (ahead->commit.chunk + 1) * HEAPD_CHUNK_PAGES - first;

	if (runmap_claim(&pages->free, first, n) < 0)
		return false;
	pages->punched += n;
	ahead->is_on = true;
	return true;
}

bool pages_ahead_begin(struct pages *pages, enum pages_who who)
{
	struct pages_ahead *ahead = &pages->ahead[who];
	uint64_t chunk;

	if (!pages_are_short(pages, who))
		return false;
	if (pages->gone_pages)
		return commit_gone_ahead(pages);
	chunk = next_chunk(pages);
	*ahead = (struct pages_ahead){ 0 };
	if (chunk == pages->chunks || commit_begin(pages, chunk, who, &ahead->commit) < 0)
		return false;
	if (in_hand(pages, ahead))
		return true;
	account_give(&pages->heap->part, HEAPD_CHUNK_SIZE);
	return false;
}

void pages_ahead_commit(struct pages *pages, enum pages_who who)
{
	if (pages->ahead[who].is_on)
		commit_populate(pages, &pages->ahead[who].commit);
}

/* Is it huge by now? It was there before, or others have it; some of it can be gone again. */
static bool ahead_grew(struct pages *pages, const struct pages_ahead *ahead)
{
	const struct pages_commit *c = &ahead->commit;

	if (!ahead->taken)
		ahead_give(pages, ahead);
	if (c->huge && bits_get(pages->committed, c->chunk))
		commit_as_huge(pages, c->chunk);
	else if (c->no_room)
		commit_note_huge(pages, false);
	commit_publish(pages);
	return true;
}

bool pages_ahead_end(struct pages *pages, enum pages_who who)
{
	struct pages_ahead *ahead = &pages->ahead[who];

	if (!ahead->is_on)
		return true;
	ahead->is_on = false;
	if (ahead->was_there || ahead->taken)
		return ahead_grew(pages, ahead);
	ahead_give(pages, ahead);
	return commit_end(pages, &ahead->commit) == 0;
}

/* All of it is free, and none of it gone. */
static bool chunk_is_free(const struct pages *pages, uint64_t chunk)
{
	uint64_t barred = pages_chunk_begin(pages, chunk) - chunk * HEAPD_CHUNK_PAGES;

	for (uint64_t w = chunk * HOLE_WORDS; w < (chunk + 1) * HOLE_WORDS; w++, barred = 0)
		if (~(pages->free.bits[w] | barred) || pages->gone[w])
			return false;
	return true;
}

/* Almost all of it is in use, and all of it stays. */
static bool chunk_is_used(const struct pages *pages, uint64_t chunk)
{
	uint64_t n = 0;

	for (uint64_t w = chunk * HOLE_WORDS; w < (chunk + 1) * HOLE_WORDS; w++) {
		if (pages->gone[w])
			return false;
		n += (uint64_t)__builtin_popcountll(pages->free.bits[w]);
	}
	return n <= USED_FREE_MAX && pages->head->hole.chunk != chunk + 1;
}

/* Of small pages, from *from on, which moves past it; or pages->chunks. */
static uint64_t small_chunk(const struct pages *pages, uint64_t *from,
			    bool (*fits)(const struct pages *pages, uint64_t chunk))
{
	while (*from < pages->chunks) {
		uint64_t chunk = (*from)++, small = pages->committed[chunk / 64] & ~pages->huge[chunk / 64];

		if (!(small >> (chunk % 64)))
			*from = (chunk / 64 + 1) * 64;
		else if (bits_get(&small, chunk % 64) && fits(pages, chunk))
			return chunk;
	}
	*from = 0;
	return pages->chunks;
}

static bool huge_begin(struct pages *pages, uint64_t *from,
		       bool (*fits)(const struct pages *pages, uint64_t chunk))
{
	uint64_t chunk = pages->chunks;

	if (pages->heap->t.directory->huge == HEAPD_HUGE_AUTO && !pages->collapse_fails &&
	    pages->huge_chunks < pages->committed_chunks)
		chunk = small_chunk(pages, from, fits);
	pages->ahead[PAGES_SCAVENGER] = (struct pages_ahead){
		.commit = { .chunk = chunk, .try_huge = true },
		.was_there = true,
	};
	return chunk < pages->chunks;
}

bool pages_huge_begin(struct pages *pages)
{
	return huge_begin(pages, &pages->small_from, chunk_is_free) &&
	       in_hand(pages, &pages->ahead[PAGES_SCAVENGER]);
}

bool pages_used_begin(struct pages *pages)
{
	struct pages_ahead *ahead = &pages->ahead[PAGES_SCAVENGER];

	if (!huge_begin(pages, &pages->used_from, chunk_is_used))
		return false;
	ahead->taken = true;
	ahead->is_on = true;
	return true;
}

void pages_scavenged(struct pages *pages, struct collapser *collapser)
{
	pages->collapser = collapser;
}

void pages_ring(struct pages *pages)
{
	if (pages->collapser && pages_are_short(pages, PAGES_SCAVENGER))
		ahead_ring(pages);
}

bool ahead_has(const struct pages *pages, uint64_t chunk)
{
	for (unsigned who = 0; who < PAGES_WHO; who++)
		if (pages->ahead[who].is_on && pages->ahead[who].commit.chunk == chunk)
			return true;
	return false;
}
