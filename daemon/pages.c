/* SPDX-License-Identifier: MIT */
/*
 * Owns the pages that are in no span, and the commitment of memory.
 *
 * Committing is done on the daemon's own mapping, a chunk of 2 MiB at a time, by MADV_POPULATE_WRITE,
 * as huge pages by populating one small page and collapsing (MADV_COLLAPSE allocates the huge page,
 * needs no privilege and works while shmem_enabled says never). Never fallocate, write or lseek: they
 * take the inode's lock, which a client can keep busy with calls of its own on the same memfd. What is
 * committed is charged to the daemon's own account before it is touched, because a memory cgroup at its
 * limit kills instead of refusing.
 *
 * First fit by address keeps what is used together at the low end, so that the committed part stays
 * dense; the map of free pages is derived: the span table says which pages are taken.
 *
 * Giving back. A chunk that is punched is taken out of the map of free pages first, under the lock, so nobody can be
 * given memory that is about to vanish; its bits say uncommitted and clean when it is put back. The ledger says meanwhile
 * which chunk that is: a daemon that finds it there takes it for gone, and dirty. There is one at a time.
 *
 * What is committed, huge or dirty stands in the ledger: it cannot be found by looking without taking the lock of the inode.
 */
#include "pages.h"

#include <errno.h>
#include <sys/mman.h>

#include "clock.h"
#include "heapd/probes.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define RETRY_COLLAPSE_AFTER 64u /* commits */
#define RESERVE_MAX          32u /* chunks: 64 MiB */

static bool bit_get(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *bits, uint64_t i)
{
	bits[i / 64] |= 1ull << (i % 64);
}

static void bit_clear(uint64_t *bits, uint64_t i)
{
	bits[i / 64] &= ~(1ull << (i % 64));
}

static void *table_map(uint64_t bytes)
{
	void *p =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static uint64_t table_bytes(uint64_t bits)
{
	return heapd_align_up(bits, 64) / 8;
}

int pages_init(struct pages *pages, struct heap *heap)
{
	struct ledger ledger;
	int r;

	*pages = (struct pages){ .heap = heap, .chunks = heap->geometry.size >> HEAPD_CHUNK_SHIFT };
	r = ledger_init(&ledger, heap);
	if (r < 0)
		return r;
	pages->head = ledger.head;
	pages->committed = ledger.committed;
	pages->huge = ledger.huge;
	pages->dirty = ledger.dirty;
	pages->idle = table_map(table_bytes(pages->chunks));
	r = runmap_init(&pages->free, heap->geometry.pages);
	if (r < 0 || !pages->idle) {
		pages_deinit(pages);
		return -ENOMEM;
	}
	return 0;
}

void pages_deinit(struct pages *pages)
{
	if (pages->idle)
		munmap(pages->idle, table_bytes(pages->chunks));
	runmap_deinit(&pages->free);
}

static int populate(void *at, uint64_t bytes)
{
	int r;

	do
		r = madvise(at, bytes, MADV_POPULATE_WRITE);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/* One huge page: true if there is one now. */
static bool commit_huge(struct pages *pages, char *chunk)
{
	if (pages->heap->t.directory->huge != HEAPD_HUGE_AUTO)
		return false;
	if (pages->collapse_fails && --pages->until_collapse)
		return false;
	if (populate(chunk, 4096) == 0 && madvise(chunk, HEAPD_CHUNK_SIZE, MADV_COLLAPSE) == 0) {
		pages->collapse_fails = false;
		return true;
	}
	pages->collapse_fails = true;
	pages->until_collapse = RETRY_COLLAPSE_AFTER;
	return false;
}

static void publish(struct pages *pages)
{
	struct heapd_stats *stats = &pages->heap->t.directory->stats;

	HEAPD_WRITE_ONCE(stats->committed, pages->committed_chunks << HEAPD_CHUNK_SHIFT);
	HEAPD_WRITE_ONCE(stats->committed_huge, pages->huge_chunks << HEAPD_CHUNK_SHIFT);
	HEAPD_WRITE_ONCE(stats->in_spans, pages->in_spans << HEAPD_PAGE_SHIFT);
}

static int commit_chunk(struct pages *pages, uint64_t chunk)
{
	struct heap *heap = pages->heap;
	char *at = (char *)(uintptr_t)heap->t.base + (chunk << HEAPD_CHUNK_SHIFT);
	uint64_t begin = clock_ns();
	bool huge;
	int r;

	if (((pages->committed_chunks + 1) << HEAPD_CHUNK_SHIFT) > heap_limit(heap))
		return -ENOMEM;
	r = account_take(heap->account, HEAPD_CHUNK_SIZE);
	if (r < 0)
		return -ENOMEM;
	huge = commit_huge(pages, at);
	if (!huge)
		r = populate(at, HEAPD_CHUNK_SIZE);
	if (r < 0) {
		account_give(heap->account, HEAPD_CHUNK_SIZE);
		return -ENOMEM;
	}
	bit_set(pages->committed, chunk);
	pages->committed_chunks++;
	huge |= heap->t.directory->huge == HEAPD_HUGE_HUGETLB;
	pages->huge_chunks += huge;
	if (huge)
		bit_set(pages->huge, chunk);
	begin = clock_ns() - begin;
	HEAPD_COUNT(heap->t.directory->stats.commit_ns, begin);
	publish(pages);
	HEAPD_PROBE(heap__grow, heap->name, HEAPD_CHUNK_SIZE, heap->t.directory->stats.committed, begin);
	return 0;
}

static int commit_run(struct pages *pages, uint64_t first, uint64_t n)
{
	uint64_t last = (first + n - 1) / HEAPD_CHUNK_PAGES;
	int r = 0;

	for (uint64_t chunk = first / HEAPD_CHUNK_PAGES; r == 0 && chunk <= last; chunk++)
		if (!bit_get(pages->committed, chunk))
			r = commit_chunk(pages, chunk);
	return r;
}

/* Not enough lay ahead: as with rings, twice as much will, up to an eighth of what is committed, and to 64 MiB. */
static void reserve_raise(struct pages *pages)
{
	uint64_t most = pages->committed_chunks / 8 < RESERVE_MAX ? pages->committed_chunks / 8 : RESERVE_MAX,
		 twice = pages->reserve * 2 + 1;

	pages->reserve = twice < most ? twice : most;
	pages->was_short = true;
}

static bool run_is_zero(const struct pages *pages, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		if (bit_get(pages->dirty, i))
			return false;
	return true;
}

int pages_take(struct pages *pages, uint64_t n, uint64_t align, uint64_t *first, bool *zeroed)
{
	uint64_t at, before;
	int r;

	r = runmap_take(&pages->free, n, align, &at);
	if (r < 0)
		return -ENOMEM;
	before = pages->committed_chunks;
	r = commit_run(pages, at, n);
	if (pages->committed_chunks != before)
		reserve_raise(pages);
	if (r < 0) {
		runmap_give(&pages->free, at, n);
		return r;
	}
	*zeroed = run_is_zero(pages, at, n);
	for (uint64_t i = at; i < at + n; i++)
		bit_set(pages->dirty, i);
	/* Before anything leads to one of them. */
	HEAPD_STORE_RELEASE(&pages->head->pages_high, pages->free.high);
	for (uint64_t chunk = at / HEAPD_CHUNK_PAGES; chunk <= (at + n - 1) / HEAPD_CHUNK_PAGES; chunk++)
		bit_clear(pages->idle, chunk);
	pages->in_spans += n;
	publish(pages);
	*first = at;
	return 0;
}

void pages_give(struct pages *pages, uint64_t first, uint64_t n)
{
	runmap_give(&pages->free, first, n);
	pages->in_spans -= n;
	publish(pages);
}

static uint64_t reserve_pages(const struct pages *pages)
{
	return (1 + pages->reserve) * HEAPD_CHUNK_PAGES;
}

void pages_calm(struct pages *pages)
{
	if (!pages->was_short)
		pages->reserve /= 2;
	pages->was_short = false;
}

bool pages_commit_ahead(struct pages *pages)
{
	uint64_t idle = pages->committed_chunks * HEAPD_CHUNK_PAGES - pages->in_spans;

	if (!pages->in_spans || idle >= reserve_pages(pages))
		return false;
	for (uint64_t chunk = 0; chunk < pages->chunks; chunk = (chunk / 64 + 1) * 64) {
		uint64_t missing = ~pages->committed[chunk / 64];

		if (!missing)
			continue;
		chunk += (uint64_t)__builtin_ctzll(missing);
		return chunk < pages->chunks && commit_chunk(pages, chunk) == 0;
	}
	return false;
}

static bool chunk_is_free(const struct pages *pages, uint64_t chunk)
{
	uint64_t first = chunk * HEAPD_CHUNK_PAGES / 64;

	for (uint64_t w = first; w < first + HEAPD_CHUNK_PAGES / 64; w++)
		if (pages->free.bits[w] != UINT64_MAX)
			return false;
	return true;
}
_Static_assert(HEAPD_CHUNK_PAGES % 64 == 0, "a chunk's pages are whole words");

/* The highest chunks would be the best to give back; the lowest are found first, and taken first. */
bool pages_idle_take(struct pages *pages, uint64_t *from, uint64_t *chunk)
{
	uint64_t ahead = pages->committed_chunks * HEAPD_CHUNK_PAGES - pages->in_spans - pages->punched;

	if (ahead < reserve_pages(pages) + HEAPD_CHUNK_PAGES)
		return false;
	for (uint64_t c = *from; c < pages->chunks; c++) {
		if (!bit_get(pages->idle, c) || !bit_get(pages->committed, c) || !chunk_is_free(pages, c))
			continue;
		if (runmap_claim(&pages->free, c * HEAPD_CHUNK_PAGES, HEAPD_CHUNK_PAGES) < 0)
			continue;
		pages->punched += HEAPD_CHUNK_PAGES;
		HEAPD_STORE_RELEASE(&pages->head->punching, c + 1);
		*chunk = c;
		*from = c + 1;
		return true;
	}
	return false;
}

static void chunk_is_gone(struct pages *pages, uint64_t chunk)
{
	bit_clear(pages->committed, chunk);
	pages->committed_chunks--;
	pages->huge_chunks -= bit_get(pages->huge, chunk);
	bit_clear(pages->huge, chunk);
	for (uint64_t i = chunk * HEAPD_CHUNK_PAGES; i < (chunk + 1) * HEAPD_CHUNK_PAGES; i++)
		bit_clear(pages->dirty, i);
	account_give(pages->heap->account, HEAPD_CHUNK_SIZE);
	HEAPD_COUNT(pages->heap->t.directory->stats.returned, HEAPD_CHUNK_SIZE);
	HEAPD_PROBE(heap__return, pages->heap->name, HEAPD_CHUNK_SIZE,
		    pages->committed_chunks << HEAPD_CHUNK_SHIFT);
}

void pages_idle_give(struct pages *pages, uint64_t chunk, bool punched)
{
	bit_clear(pages->idle, chunk);
	if (punched)
		chunk_is_gone(pages, chunk);
	HEAPD_STORE_RELEASE(&pages->head->punching, 0);
	pages->punched -= HEAPD_CHUNK_PAGES;
	runmap_give(&pages->free, chunk * HEAPD_CHUNK_PAGES, HEAPD_CHUNK_PAGES);
	publish(pages);
}

void pages_idle_keep(struct pages *pages, uint64_t chunk)
{
	if (runmap_claim(&pages->free, chunk * HEAPD_CHUNK_PAGES, HEAPD_CHUNK_PAGES) == 0)
		pages->punched += HEAPD_CHUNK_PAGES;
}

void pages_idle_note(struct pages *pages)
{
	for (uint64_t c = 0; c < pages->chunks; c++)
		if (bit_get(pages->committed, c) && chunk_is_free(pages, c))
			bit_set(pages->idle, c);
}
