/* SPDX-License-Identifier: MIT */
/*
 * Owns the pages that are in no span.
 *
 * First fit by address keeps what is used together at the low end, so that the committed part stays
 * dense; the map of free pages is derived: the span table says which pages are taken. Memory is committed as it is taken
 * (commit.c), or before (ahead.c), cleared before (clean.c), and goes back to the system when it has been idle (idle.c).
 */
#include "pages.h"

#include <errno.h>
#include <sys/mman.h>

#include "ahead.h"
#include "bits.h"
#include "clean.h"
#include "commit.h"

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

static bool run_is_zero(const struct pages *pages, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		if (bits_get(pages->dirty, i))
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
	while (r < 0 && (ahead_take_over(pages) || clean_take_over(pages)));
	if (pages->committed_chunks != before)
		ahead_raise(pages);
	if (r < 0)
		return r;
	*zeroed = run_is_zero(pages, at, n);
	for (uint64_t i = at; i < at + n; i++) {
		bits_set(pages->dirty, i);
		bits_clear(pages->idle, i);
	}
	/* Before anything leads to one of them. */
	HEAPD_STORE_RELEASE(&pages->head->pages_high, pages->free.high);
	pages->in_spans += n;
	commit_publish(pages);
	*first = at;
	return 0;
}

void pages_give(struct pages *pages, uint64_t first, uint64_t n)
{
	runmap_give(&pages->free, first, n);
	pages->in_spans -= n;
	commit_publish(pages);
}
