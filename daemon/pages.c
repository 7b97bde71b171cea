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
 * Ahead of need the supplier commits, and holds no lock while the kernel clears the memory, which can be a matter of milliseconds: a
 * collection and who asks for a large object would wait for that. The chunk is charged, and out of the map of free pages, meanwhile;
 * so nobody else has it in hand, and a daemon that dies leaves what it would have left under the lock: pages
 * that are there, and of which the ledger does not say so. Who finds no other room meanwhile waits for it (supply_large()).
 *
 * First fit by address keeps what is used together at the low end, so that the committed part stays
 * dense; the map of free pages is derived: the span table says which pages are taken.
 *
 * Giving back. What is punched is taken out of the map of free pages first, under the lock, so nobody can be
 * given memory that is about to vanish; its bits say gone and clean when it is put back. The ledger says meanwhile
 * which pages those are: a daemon that finds them there takes them for gone, and dirty. They are of one chunk at a time.
 * Chunks that are wholly free go whole. Of others, free pages go where small pages are used; a huge page is broken up when
 * half of it has been idle. Pages that are gone come back when they are taken, or, ahead of need, before any new chunk.
 *
 * What is committed, huge, gone or dirty stands in the ledger: it cannot be found by looking without taking the lock of the inode.
 */
#include "pages.h"

#include <errno.h>
#include <string.h>
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
#define HOLE_WORDS           LEDGER_HOLE_WORDS
#define RESERVE_MAX          32u                     /* chunks: 64 MiB */
#define HOLE_MIN             4u                      /* neighbouring pages: less is not worth a system call */
#define HOLE_HUGE_MIN        (HEAPD_CHUNK_PAGES / 2) /* pages of a huge one that have to be idle */

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
	pages->gone = ledger.gone;
	pages->idle = table_map(table_bytes(heap->geometry.pages));
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
		munmap(pages->idle, table_bytes(pages->heap->geometry.pages));
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

/* Whether a chunk is to be tried to be had as a huge page. */
static bool huge_wanted(struct pages *pages)
{
	if (pages->heap->t.directory->huge != HEAPD_HUGE_AUTO)
		return false;
	return !pages->collapse_fails || !--pages->until_collapse;
}

static void huge_note(struct pages *pages, bool had)
{
	pages->collapse_fails = !had;
	pages->until_collapse = RETRY_COLLAPSE_AFTER;
}

static void publish(struct pages *pages)
{
	struct heapd_stats *stats = &pages->heap->t.directory->stats;

	HEAPD_WRITE_ONCE(stats->committed, pages_committed_bytes(pages));
	HEAPD_WRITE_ONCE(stats->committed_huge, pages->huge_chunks << HEAPD_CHUNK_SHIFT);
	HEAPD_WRITE_ONCE(stats->in_spans, pages->in_spans << HEAPD_PAGE_SHIFT);
}

/* From the heap's limit and from the account. */
static int charge(struct pages *pages, uint64_t bytes)
{
	uint64_t ahead = pages->is_ahead ? HEAPD_CHUNK_SIZE : 0;

	if (pages_committed_bytes(pages) + ahead + bytes > heap_limit(pages->heap))
		return -ENOMEM;
	return account_take(&pages->heap->part, bytes) < 0 ? -ENOMEM : 0;
}

static int commit_begin(struct pages *pages, uint64_t chunk, struct pages_commit *c)
{
	int r = charge(pages, HEAPD_CHUNK_SIZE);

	if (r == 0)
		*c = (struct pages_commit){ .chunk = chunk, .try_huge = huge_wanted(pages) };
	return r;
}

/* Needs no lock: it looks at nothing but what it is given. */
static void commit_populate(const struct heap *heap, struct pages_commit *c)
{
	char *at = (char *)(uintptr_t)heap->t.base + (c->chunk << HEAPD_CHUNK_SHIFT);
	uint64_t begin = clock_ns();

	c->huge = c->try_huge && populate(at, 4096) == 0 && madvise(at, HEAPD_CHUNK_SIZE, MADV_COLLAPSE) == 0;
	c->error = c->huge ? 0 : populate(at, HEAPD_CHUNK_SIZE);
	c->ns = clock_ns() - begin;
}

static int commit_end(struct pages *pages, const struct pages_commit *c)
{
	struct heap *heap = pages->heap;
	bool huge = c->huge || heap->t.directory->huge == HEAPD_HUGE_HUGETLB;

	if (c->try_huge)
		huge_note(pages, c->huge);
	if (c->error < 0) {
		account_give(&heap->part, HEAPD_CHUNK_SIZE);
		return -ENOMEM;
	}
	bit_set(pages->committed, c->chunk);
	pages->committed_chunks++;
	pages->huge_chunks += huge;
	if (huge)
		bit_set(pages->huge, c->chunk);
	HEAPD_COUNT(heap->t.directory->stats.commit_ns, c->ns);
	publish(pages);
	HEAPD_PROBE(heap__grow, heap->name, HEAPD_CHUNK_SIZE, heap->t.directory->stats.committed, c->ns);
	return 0;
}

static int commit_chunk(struct pages *pages, uint64_t chunk)
{
	struct pages_commit c;
	int r = commit_begin(pages, chunk, &c);

	if (r < 0)
		return r;
	commit_populate(pages->heap, &c);
	return commit_end(pages, &c);
}

/* How many neighbouring pages from `at` on, before `end`, have this bit. */
static uint64_t run_of(const uint64_t *bits, uint64_t at, uint64_t end, bool value)
{
	uint64_t n = 0;

	while (at + n < end && bit_get(bits, at + n) == value)
		n++;
	return n;
}

/* Pages that are gone. */
static int commit_pages(struct pages *pages, uint64_t first, uint64_t n)
{
	uint64_t bytes = n << HEAPD_PAGE_SHIFT;
	int r = charge(pages, bytes);

	if (r < 0)
		return r;
	r = populate((char *)(uintptr_t)pages->heap->t.base + (first << HEAPD_PAGE_SHIFT), bytes);
	if (r < 0) {
		account_give(&pages->heap->part, bytes);
		return -ENOMEM;
	}
	for (uint64_t i = first; i < first + n; i++)
		bit_clear(pages->gone, i);
	pages->gone_pages -= n;
	publish(pages);
	return 0;
}

/* What is gone of these. */
static int commit_gone(struct pages *pages, uint64_t first, uint64_t n)
{
	uint64_t end = first + n;
	int r = 0;

	while (pages->gone_pages && r == 0 && first < end) {
		uint64_t there = run_of(pages->gone, first, end, false),
			 gone = run_of(pages->gone, first + there, end, true);

		if (gone)
			r = commit_pages(pages, first + there, gone);
		first += there + gone;
	}
	return r;
}

static int commit_run(struct pages *pages, uint64_t first, uint64_t n)
{
	uint64_t last = (first + n - 1) / HEAPD_CHUNK_PAGES;
	int r = 0;

	for (uint64_t chunk = first / HEAPD_CHUNK_PAGES; r == 0 && chunk <= last; chunk++)
		if (!bit_get(pages->committed, chunk))
			r = commit_chunk(pages, chunk);
	return r < 0 ? r : commit_gone(pages, first, n);
}

/* At the limit: the first run of pages that are there. Slow, and none is charged. */
static int take_committed(struct pages *pages, uint64_t n, uint64_t align, uint64_t *at)
{
	uint64_t units = pages->free.units, page = 0;

	while (page + n <= units) {
		uint64_t run = 0;

		if (!bit_get(pages->committed, page / HEAPD_CHUNK_PAGES)) {
			page = (page / HEAPD_CHUNK_PAGES + 1) * HEAPD_CHUNK_PAGES;
			continue;
		}
		page = (page + align - 1) / align * align;
		while (run < n && page + run < units && runmap_is_free(&pages->free, page + run) &&
		       bit_get(pages->committed, (page + run) / HEAPD_CHUNK_PAGES) &&
		       !bit_get(pages->gone, page + run))
			run++;
		if (run == n) {
			*at = page;
			return runmap_claim(&pages->free, page, n);
		}
		page += run + 1;
	}
	return -ENOMEM;
}

/* Free pages, in no span yet, that are there. */
static int take_run(struct pages *pages, uint64_t n, uint64_t align, uint64_t *at)
{
	int r = runmap_take(&pages->free, n, align, at);

	if (r < 0)
		return -ENOMEM;
	r = commit_run(pages, *at, n);
	if (r == 0)
		return 0;
	runmap_give(&pages->free, *at, n);
	return take_committed(pages, n, align ? align : 1, at);
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

	before = pages->committed_chunks;
	r = take_run(pages, n, align, &at);
	if (pages->committed_chunks != before)
		reserve_raise(pages);
	if (r < 0)
		return r;
	*zeroed = run_is_zero(pages, at, n);
	for (uint64_t i = at; i < at + n; i++) {
		bit_set(pages->dirty, i);
		bit_clear(pages->idle, i);
	}
	/* Before anything leads to one of them. */
	HEAPD_STORE_RELEASE(&pages->head->pages_high, pages->free.high);
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

/* Free pages that are there. */
static uint64_t pages_ahead(const struct pages *pages)
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

		if (bit_get(pages->committed, pages->gone_from) &&
		    run_of(pages->gone, first, first + HEAPD_CHUNK_PAGES, false) < HEAPD_CHUNK_PAGES)
			return commit_gone(pages, first, HEAPD_CHUNK_PAGES) == 0;
	}
	return false;
}

/* The lowest chunk that is not committed, or pages->chunks. All of its pages are free. */
static uint64_t next_chunk(const struct pages *pages)
{
	for (uint64_t chunk = 0; chunk < pages->chunks; chunk += 64) {
		uint64_t missing = ~pages->committed[chunk / 64];

		if (missing)
			chunk += (uint64_t)__builtin_ctzll(missing);
		if (missing)
			return chunk < pages->chunks ? chunk : pages->chunks;
	}
	return pages->chunks;
}

bool pages_are_short(const struct pages *pages)
{
	return pages->in_spans && pages_ahead(pages) < reserve_pages(pages);
}

bool pages_ahead_begin(struct pages *pages)
{
	uint64_t chunk;

	if (!pages_are_short(pages))
		return false;
	if (pages->gone_pages)
		return commit_gone_ahead(pages);
	chunk = next_chunk(pages);
	if (chunk == pages->chunks || commit_begin(pages, chunk, &pages->ahead) < 0)
		return false;
	if (runmap_claim(&pages->free, chunk * HEAPD_CHUNK_PAGES, HEAPD_CHUNK_PAGES) < 0) {
		account_give(&pages->heap->part, HEAPD_CHUNK_SIZE);
		return false;
	}
	pages->punched += HEAPD_CHUNK_PAGES;
	pages->is_ahead = true;
	return true;
}

void pages_ahead_commit(struct pages *pages)
{
	if (pages->is_ahead)
		commit_populate(pages->heap, &pages->ahead);
}

bool pages_ahead_end(struct pages *pages)
{
	if (!pages->is_ahead)
		return true;
	pages->is_ahead = false;
	pages->punched -= HEAPD_CHUNK_PAGES;
	runmap_give(&pages->free, pages->ahead.chunk * HEAPD_CHUNK_PAGES, HEAPD_CHUNK_PAGES);
	return commit_end(pages, &pages->ahead) == 0;
}

/* Free, and either gone or found idle, all of it. */
static bool chunk_is_idle(const struct pages *pages, uint64_t chunk)
{
	uint64_t first = chunk * HOLE_WORDS;

	for (uint64_t w = first; w < first + HOLE_WORDS; w++)
		if ((pages->free.bits[w] & (pages->idle[w] | pages->gone[w])) != UINT64_MAX)
			return false;
	return true;
}
_Static_assert(HEAPD_CHUNK_PAGES % 64 == 0, "a chunk's pages are whole words");

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
		n = run_of(bits, at, HEAPD_CHUNK_PAGES, true);
		for (uint64_t i = at; n < HOLE_MIN && i < at + n; i++)
			bit_clear(bits, i);
	}
	return hole_pages(bits) >= (bit_get(pages->huge, chunk) ? HOLE_HUGE_MIN : HOLE_MIN);
}

/* Whether so much can go, and what lies ahead of need stays. */
static bool may_go(const struct pages *pages, uint64_t chunk, const uint64_t bits[HOLE_WORDS])
{
	uint64_t there[HOLE_WORDS];

	for (unsigned w = 0; w < HOLE_WORDS; w++)
		there[w] = bits[w] & ~pages->gone[chunk * HOLE_WORDS + w];
	return pages_ahead(pages) >= reserve_pages(pages) + hole_pages(there);
}

/* Out of the map of free pages; false if one of them is not in it. */
static bool hole_claim(struct pages *pages)
{
	const struct ledger_hole *hole = &pages->head->hole;
	uint64_t first = (hole->chunk - 1) * HEAPD_CHUNK_PAGES;

	for (uint64_t at = 0, n; at < HEAPD_CHUNK_PAGES; at += n + 1) {
		n = run_of(hole->pages, at, HEAPD_CHUNK_PAGES, true);
		if (n && runmap_claim(&pages->free, first + at, n) < 0)
			return false;
		pages->punched += n;
	}
	return true;
}

static void hole_close(struct pages *pages, uint64_t chunk, const uint64_t bits[HOLE_WORDS])
{
	for (uint64_t at = 0, n; at < HEAPD_CHUNK_PAGES; at += n + 1) {
		n = run_of(bits, at, HEAPD_CHUNK_PAGES, true);
		if (n)
			runmap_give(&pages->free, chunk * HEAPD_CHUNK_PAGES + at, n);
		pages->punched -= n;
	}
}

/* The highest chunks would be the best to give back; the lowest are found first, and taken first. */
bool pages_idle_take(struct pages *pages, uint64_t *from)
{
	struct ledger_hole *hole = &pages->head->hole;

	for (uint64_t c = *from; c < pages->chunks && pages_ahead(pages) > reserve_pages(pages); c++) {
		if (!bit_get(pages->committed, c) || !hole_find(pages, c, hole->pages) ||
		    !may_go(pages, c, hole->pages))
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

	bit_clear(pages->committed, chunk);
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
	pages->huge_chunks -= bit_get(pages->huge, chunk);
	bit_clear(pages->huge, chunk);
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
	publish(pages);
}

void pages_idle_keep(struct pages *pages)
{
	hole_claim(pages);
}

void pages_idle_note(struct pages *pages)
{
	for (uint64_t c = 0; c < pages->chunks; c++)
		for (uint64_t w = c * HOLE_WORDS; bit_get(pages->committed, c) && w < (c + 1) * HOLE_WORDS;
		     w++)
			pages->idle[w] = pages->free.bits[w] & ~pages->gone[w];
}
