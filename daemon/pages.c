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
 * over (take_over()), and has it as small pages. Right because to populate, and to take together, leave what is in memory as it
 * is, whoever uses it: the chunk is in the map again and counted, and he who had it in hand says no more of it than that it is huge.
 * For the same reason a chunk in use can be taken together, and is taken over from the beginning: nothing of it leaves the map. None of it may
 * be gone, which would come back uncounted, or on its way to the system; and both are for the scavenger's thread alone to begin.
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

#include "bits.h"
#include "clock.h"
#include "heapd/probes.h"

#define RETRY_COLLAPSE_AFTER 64u /* commits */
#define HOLE_WORDS           LEDGER_HOLE_WORDS
#define RESERVE_MAX          32u /* chunks: 64 MiB */
#define SCARCE_PART \
	4u /* of what is to lie ahead: with less, small pages now are better than huge ones later */
#define USED_FREE_MAX (HEAPD_CHUNK_PAGES / 8) /* more of them free: they are given back one by one */
#define HOLE_MIN      4u                      /* neighbouring pages: less is not worth a system call */
#define HOLE_HUGE_MIN (HEAPD_CHUNK_PAGES / 2) /* pages of a huge one that have to be idle */

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

/*
 * The heap's base is a number that programs have on their stacks, as one that is told what the heap is like: it would hold the object
 * that lies there. Nothing stands in the ledger of this: each daemon does it anew, and for a heap in which an object lies there it does nothing.
 */
void pages_bar_base(struct pages *pages)
{
	pages->base_is_barred = runmap_claim(&pages->free, 0, 1) == 0;
	pages->punched += pages->base_is_barred;
}

/* Of a chunk, the first page that can ever be free. */
static uint64_t chunk_begin(const struct pages *pages, uint64_t chunk)
{
	return chunk ? chunk * HEAPD_CHUNK_PAGES : pages->base_is_barred;
}

static int populate(void *at, uint64_t bytes)
{
	int r;

	do
		r = madvise(at, bytes, MADV_POPULATE_WRITE);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/* Whether a chunk is to be tried to be had as a huge page, by who may take the time. */
static bool huge_wanted(struct pages *pages, enum pages_who who)
{
	if (pages->heap->t.directory->huge != HEAPD_HUGE_AUTO || (pages->collapser && who != PAGES_SCAVENGER))
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

/* Charged, and not counted as committed. */
static bool ahead_is_new(const struct pages_ahead *ahead)
{
	return ahead->is_on && !ahead->was_there && !ahead->taken;
}

/* From the heap's limit and from the account. */
static int charge(struct pages *pages, uint64_t bytes)
{
	uint64_t ahead = 0;

	for (unsigned who = 0; who < PAGES_WHO; who++)
		if (ahead_is_new(&pages->ahead[who]))
			ahead += HEAPD_CHUNK_SIZE;
	if (pages_committed_bytes(pages) + ahead + bytes > heap_limit(pages->heap))
		return -ENOMEM;
	return account_take(&pages->heap->part, bytes) < 0 ? -ENOMEM : 0;
}

static int commit_begin(struct pages *pages, uint64_t chunk, enum pages_who who, struct pages_commit *c)
{
	int r = charge(pages, HEAPD_CHUNK_SIZE);

	if (r == 0)
		*c = (struct pages_commit){ .chunk = chunk, .try_huge = huge_wanted(pages, who) };
	return r;
}

static int collapse(struct pages *pages, char *at)
{
	int r;

	if (pages->collapser)
		return collapser_ask(pages->collapser, (uint64_t)(uintptr_t)at);
	r = populate(at, 4096);
	if (r == 0 && madvise(at, HEAPD_CHUNK_SIZE, MADV_COLLAPSE) < 0)
		r = -errno;
	return r;
}

/* Needs no lock: it looks at nothing but what it is given, and at what stands as long as a thread of the scavenger's does. */
static void commit_populate(struct pages *pages, struct pages_commit *c)
{
	char *at = (char *)(uintptr_t)pages->heap->t.base + (c->chunk << HEAPD_CHUNK_SHIFT);
	uint64_t begin = clock_ns();
	int r = c->try_huge ? collapse(pages, at) : -EINVAL;

	c->huge = r == 0;
	c->no_room = r == -ENOMEM;
	c->error = c->huge ? 0 : populate(at, HEAPD_CHUNK_SIZE);
	c->ns = clock_ns() - begin;
}

static void chunk_is_huge(struct pages *pages, uint64_t chunk)
{
	if (!bit_get(pages->huge, chunk))
		pages->huge_chunks++;
	bit_set(pages->huge, chunk);
}

/* It is there, and charged. */
static void chunk_is_there(struct pages *pages, const struct pages_commit *c)
{
	struct heap *heap = pages->heap;

	bit_set(pages->committed, c->chunk);
	pages->committed_chunks++;
	if (c->huge || heap->t.directory->huge == HEAPD_HUGE_HUGETLB)
		chunk_is_huge(pages, c->chunk);
	HEAPD_COUNT(heap->t.directory->stats.commit_ns, c->ns);
	publish(pages);
	HEAPD_PROBE(heap__grow, heap->name, HEAPD_CHUNK_SIZE, heap->t.directory->stats.committed, c->ns);
}

static int commit_end(struct pages *pages, const struct pages_commit *c)
{
	if (c->try_huge)
		huge_note(pages, c->huge);
	if (c->error < 0) {
		account_give(&pages->heap->part, HEAPD_CHUNK_SIZE);
		return -ENOMEM;
	}
	chunk_is_there(pages, c);
	return 0;
}

static int commit_chunk(struct pages *pages, uint64_t chunk)
{
	struct pages_commit c;
	int r = commit_begin(pages, chunk, PAGES_SUPPLIER, &c);

	if (r < 0)
		return r;
	commit_populate(pages, &c);
	return commit_end(pages, &c);
}

/* How many neighbouring pages from `at` on, before `end`, have this bit. */
static uint64_t run_of(const uint64_t *bits, uint64_t at, uint64_t end, bool value)
{
	return bits_next(bits, at, end, !value) - at;
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

/* The first n pages of which none is gone, of free ones from `at` up to `end`; `end` if there are none. */
static uint64_t find_there(const struct pages *pages, uint64_t at, uint64_t end, uint64_t n, uint64_t align)
{
	uint64_t gone;

	for (at = heapd_align_up(at, align); at + n <= end; at = heapd_align_up(gone + 1, align)) {
		gone = pages->gone_pages ? bits_next(pages->gone, at, at + n, true) : at + n;
		if (gone == at + n)
			return at;
	}
	return end;
}

/* Of free pages in committed chunks, from `from` up to `end`. */
static bool find_free(const struct pages *pages, uint64_t from, uint64_t end, uint64_t n, uint64_t align,
		      uint64_t *at)
{
	uint64_t length, run;

	while ((length = runmap_next(&pages->free, from, end, n, &run))) {
		from = run + length;
		*at = find_there(pages, run, from, n, align);
		if (*at < from)
			return true;
	}
	return false;
}

/*
 * At the limit: the first run of pages that are there; none is charged. Whoever waits for memory asks again and again, so what
 * is in use is passed over by groups and by words, and not looked at page by page.
 */
static int take_committed(struct pages *pages, uint64_t n, uint64_t align, uint64_t *at)
{
	uint64_t chunk = 0, end;

	for (; (chunk = bits_next(pages->committed, chunk, pages->chunks, true)) < pages->chunks;
	     chunk = end) {
		end = bits_next(pages->committed, chunk, pages->chunks, false);
		if (find_free(pages, chunk * HEAPD_CHUNK_PAGES, end * HEAPD_CHUNK_PAGES, n, align, at))
			return runmap_claim(&pages->free, *at, n);
	}
	return -ENOMEM;
}

/* Into the map of free pages again. */
static void ahead_give(struct pages *pages, const struct pages_ahead *ahead)
{
	uint64_t first = chunk_begin(pages, ahead->commit.chunk),
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
		chunk_is_there(pages, &c);
	return true;
}

/* A chunk that somebody has in hand. */
static bool take_over(struct pages *pages)
{
	for (unsigned who = 0; who < PAGES_WHO; who++)
		if (pages->ahead[who].is_on && !pages->ahead[who].taken)
			return ahead_take(pages, &pages->ahead[who]);
	return false;
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
	do
		r = take_run(pages, n, align, &at);
	while (r < 0 && take_over(pages));
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

static void ring(struct pages *pages)
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
		ring(pages);
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

/* Of the 64 from `chunk` on: those that are not committed, and that nobody has in hand. */
static uint64_t missing_chunks(const struct pages *pages, uint64_t chunk)
{
	uint64_t missing = ~pages->committed[chunk / 64];

	for (unsigned who = 0; who < PAGES_WHO; who++)
		if (pages->ahead[who].is_on && pages->ahead[who].commit.chunk / 64 == chunk / 64)
			bit_clear(&missing, pages->ahead[who].commit.chunk % 64);
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
	uint64_t enough = reserve_pages(pages);

	if (pages->collapser && who != PAGES_SCAVENGER)
		enough /= SCARCE_PART;
	return pages->in_spans && pages_ahead(pages) < enough;
}

static bool in_hand(struct pages *pages, struct pages_ahead *ahead)
{
	uint64_t first = chunk_begin(pages, ahead->commit.chunk),
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
	if (c->huge && bit_get(pages->committed, c->chunk))
		chunk_is_huge(pages, c->chunk);
	else if (c->no_room)
		huge_note(pages, false);
	publish(pages);
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
	uint64_t barred = chunk_begin(pages, chunk) - chunk * HEAPD_CHUNK_PAGES;

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
		else if (bit_get(&small, chunk % 64) && fits(pages, chunk))
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
		ring(pages);
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

static bool is_in_hand(const struct pages *pages, uint64_t chunk)
{
	for (unsigned who = 0; who < PAGES_WHO; who++)
		if (pages->ahead[who].is_on && pages->ahead[who].commit.chunk == chunk)
			return true;
	return false;
}

/* The highest chunks would be the best to give back; the lowest are found first, and taken first. */
bool pages_idle_take(struct pages *pages, uint64_t *from)
{
	struct ledger_hole *hole = &pages->head->hole;

	for (uint64_t c = *from; c < pages->chunks && pages_ahead(pages) > reserve_pages(pages); c++) {
		if (!bit_get(pages->committed, c) || is_in_hand(pages, c) ||
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
