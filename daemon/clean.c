/* SPDX-License-Identifier: MIT */
/*
 * Owns the clearing of free memory ahead of need.
 *
 * A large object is zero when it is made. Where a collection has just found what lies there, the one who allocates had to clear it: 25 to 75 us a
 * MiB, more than all the rest of a large object costs. So the scavenger's thread goes through what is free after each collection, from the low end, where
 * the next objects will lie, and clears as many pages as large objects took since the last one: no more, since small objects are
 * cleared one by one when they are made, and in the cache. What somebody frees by hand is not cleared ahead: it is likely to be used
 * again soon, and is in the cache still. Nor is anything in a heap that is hardened or poisoned, where what stands in free memory is a message.
 *
 * Pages in hand are out of the map of free pages, so that nobody else has them, and no lock is held meanwhile. That they are clean is said under the
 * lock, after they are; a daemon that dies in between leaves them dirty. At the limit somebody may find no other room than they
 * are: he waits for as long as a few pages take (clean_take_over()), under the lock, and gives them back himself; whoever had them
 * in hand finds that out, and has nothing left to say. To write to them meanwhile would be to write to an object of his.
 *
 *   clears    stores; busy = 0 (release)      takes over    busy != 0: waits; busy == 0 (acquire); the map
 *
 * Nobody else writes to free pages; what is said of memory that was never used, or that came again from the system, rests on the same.
 */
#include "clean.h"

#include <string.h>

#include "ahead.h"
#include "bits.h"
#include "clock.h"
#include "heapd/stream.h"

#define CLEAN_MIN  32u   /* pages: smaller objects fit into a cache near by, and are cleared there */
#define CLEAN_MOST 16u   /* pages, at once: a few us */
#define LOOK_WORDS 1024u /* of the map, at once */
#define AGAIN_NS   UINT64_C(1000000)

enum { CLEAN_DONE, CLEAN_BUSY, CLEAN_AWAITED };

void pages_clean_note(struct pages *pages, uint64_t n)
{
	if (n >= CLEAN_MIN)
		pages->clean.wanted += n;
}

void pages_clean_start(struct pages *pages)
{
	struct pages_clean *clean = &pages->clean;

	clean->budget = clean->wanted;
	clean->wanted = 0;
	clean->from = 0;
	if (clean->budget)
		ahead_ring(pages);
}

static uint64_t at_most(uint64_t n, uint64_t most)
{
	return n < most ? n : most;
}

/* Of the 64 pages of word w: those that are free, there, and dirty. */
static uint64_t unclean(const struct pages *pages, uint64_t w)
{
	if (!bits_get(pages->committed, w * 64 / HEAPD_CHUNK_PAGES))
		return 0;
	return pages->free.bits[w] & pages->dirty[w] & ~pages->gone[w];
}

/* The next run of them; none (*n is 0) if the next so many words have none. */
static void find(struct pages *pages, uint64_t *first, uint64_t *n)
{
	struct pages_clean *clean = &pages->clean;

	*n = 0;
	for (unsigned words = 0; words < LOOK_WORDS && clean->from < pages->free.high; words++) {
		uint64_t bits = unclean(pages, clean->from / 64) & (UINT64_MAX << (clean->from % 64)), at;

		if (!bits) {
			clean->from = (clean->from / 64 + 1) * 64;
			continue;
		}
		at = (uint64_t)__builtin_ctzll(bits);
		*first = clean->from / 64 * 64 + at;
		*n = at_most(at_most(bits_run(&bits, at, 64, true), CLEAN_MOST), clean->budget);
		clean->from = *first + *n;
		return;
	}
}

bool pages_clean_begin(struct pages *pages)
{
	struct pages_clean *clean = &pages->clean;

	if (!clean->budget || clean->from >= pages->free.high)
		return false;
	find(pages, &clean->first, &clean->n);
	clean->in_hand = clean->n && runmap_claim(&pages->free, clean->first, clean->n) == 0;
	if (!clean->in_hand) {
		clean->n = 0;
		return true;
	}
	pages->punched += clean->n;
	clean->budget -= clean->n;
	clean->busy = CLEAN_BUSY;
	return true;
}

void pages_clean_clear(struct pages *pages)
{
	struct pages_clean *clean = &pages->clean;
	uint64_t bytes = clean->n << HEAPD_PAGE_SHIFT, done;
	char *at = (char *)(uintptr_t)pages->heap->t.base + (clean->first << HEAPD_PAGE_SHIFT);

	if (!clean->n)
		return;
	done = heapd_stream_clear(at, bytes);
	memset(at + done, 0, bytes - done);
	if (__atomic_exchange_n(&clean->busy, CLEAN_DONE, __ATOMIC_RELEASE) == CLEAN_AWAITED)
		futex_wake_all(&clean->busy);
}

/* They are zero. */
static void give(struct pages *pages)
{
	struct pages_clean *clean = &pages->clean;

	clean->in_hand = false;
	for (uint64_t i = clean->first; i < clean->first + clean->n; i++)
		bits_clear(pages->dirty, i);
	pages->punched -= clean->n;
	runmap_give(&pages->free, clean->first, clean->n);
}

void pages_clean_end(struct pages *pages)
{
	if (pages->clean.in_hand)
		give(pages);
}

bool clean_take_over(struct pages *pages)
{
	struct pages_clean *clean = &pages->clean;
	uint32_t busy = CLEAN_BUSY;

	if (!clean->in_hand)
		return false;
	__atomic_compare_exchange_n(&clean->busy, &busy, CLEAN_AWAITED, false, __ATOMIC_ACQUIRE,
				    __ATOMIC_ACQUIRE);
	while (HEAPD_LOAD_ACQUIRE(&clean->busy) != CLEAN_DONE)
		futex_wait(&clean->busy, CLEAN_AWAITED, AGAIN_NS);
	give(pages);
	return true;
}
