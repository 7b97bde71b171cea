/* SPDX-License-Identifier: MIT */
/*
 * Owns the commitment of memory, a chunk of 2 MiB at a time.
 *
 * Committing is done on the daemon's own mapping by MADV_POPULATE_WRITE,
 * as huge pages by populating one small page and collapsing (MADV_COLLAPSE allocates the huge page,
 * needs no privilege and works while shmem_enabled says never). Never fallocate, write or lseek: they
 * take the inode's lock, which a client can keep busy with calls of its own on the same memfd. What is
 * committed is charged to the daemon's own account before it is touched, because a memory cgroup at its
 * limit kills instead of refusing.
 *
 * What is committed, huge, gone or dirty stands in the ledger: it cannot be found by looking without taking the lock of the inode.
 */
#include "commit.h"

#include <errno.h>
#include <sys/mman.h>

#include "bits.h"
#include "clock.h"
#include "heapd/probes.h"

#define RETRY_COLLAPSE_AFTER 64u /* commits */

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

void commit_note_huge(struct pages *pages, bool had)
{
	pages->collapse_fails = !had;
	pages->until_collapse = RETRY_COLLAPSE_AFTER;
}

void commit_publish(struct pages *pages)
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

int commit_begin(struct pages *pages, uint64_t chunk, enum pages_who who, struct pages_commit *c)
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
void commit_populate(struct pages *pages, struct pages_commit *c)
{
	char *at = (char *)(uintptr_t)pages->heap->t.base + (c->chunk << HEAPD_CHUNK_SHIFT);
	uint64_t begin = clock_ns();
	int r = c->try_huge ? collapse(pages, at) : -EINVAL;

	c->huge = r == 0;
	c->no_room = r == -ENOMEM;
	c->error = c->huge ? 0 : populate(at, HEAPD_CHUNK_SIZE);
	c->ns = clock_ns() - begin;
}

void commit_as_huge(struct pages *pages, uint64_t chunk)
{
	if (!bits_get(pages->huge, chunk))
		pages->huge_chunks++;
	bits_set(pages->huge, chunk);
}

/* It is there, and charged. */
void commit_is_there(struct pages *pages, const struct pages_commit *c)
{
	struct heap *heap = pages->heap;

	bits_set(pages->committed, c->chunk);
	pages->committed_chunks++;
	if (c->huge || heap->t.directory->huge == HEAPD_HUGE_HUGETLB)
		commit_as_huge(pages, c->chunk);
	HEAPD_COUNT(heap->t.directory->stats.commit_ns, c->ns);
	commit_publish(pages);
	HEAPD_PROBE(heap__grow, heap->name, HEAPD_CHUNK_SIZE, heap->t.directory->stats.committed, c->ns);
}

int commit_end(struct pages *pages, const struct pages_commit *c)
{
	if (c->try_huge)
		commit_note_huge(pages, c->huge);
	if (c->error < 0) {
		account_give(&pages->heap->part, HEAPD_CHUNK_SIZE);
		return -ENOMEM;
	}
	commit_is_there(pages, c);
	return 0;
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
		bits_clear(pages->gone, i);
	pages->gone_pages -= n;
	commit_publish(pages);
	return 0;
}

/* What is gone of these. */
int commit_gone(struct pages *pages, uint64_t first, uint64_t n)
{
	uint64_t end = first + n;
	int r = 0;

	while (pages->gone_pages && r == 0 && first < end) {
		uint64_t there = bits_run(pages->gone, first, end, false),
			 gone = bits_run(pages->gone, first + there, end, true);

		if (gone)
			r = commit_pages(pages, first + there, gone);
		first += there + gone;
	}
	return r;
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

int commit_run(struct pages *pages, uint64_t first, uint64_t n)
{
	uint64_t last = (first + n - 1) / HEAPD_CHUNK_PAGES;
	int r = 0;

	for (uint64_t chunk = first / HEAPD_CHUNK_PAGES; r == 0 && chunk <= last; chunk++)
		if (!bits_get(pages->committed, chunk))
			r = commit_chunk(pages, chunk);
	return r < 0 ? r : commit_gone(pages, first, n);
}
