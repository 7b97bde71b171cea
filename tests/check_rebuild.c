/* SPDX-License-Identifier: MIT */
/* Spans and pages of a daemon that died as it cut them, freed them, or gave them back to the system, made by hand. */
#include "daemon/rebuild.h"
#include "daemon/scavenger.h"
#include "recovery.h"

/* A span that is not in use, with all its pages, for the next two. */
static uint32_t unused_span(void)
{
	uint32_t first;

	heap_lock(t.heap);
	ck_assert_int_eq(spans_cut(t.heap->spans, CLASS, &first), 0);
	heap_unlock(t.heap);
	return first;
}

static void ck_is_gone(uint32_t first)
{
	ck_assert_uint_eq(t.heap->t.page_span[first], 0);
	ck_assert_uint_eq(t.heap->t.pages[first].first, 0);
	ck_assert(runmap_is_free(&t.heap->pages->free, first));
}

START_TEST(span_half_freed)
{
	uint32_t first, last;

	testheap_start(&t);
	first = unused_span();
	last = first + t.heap->t.spans[first].npages - 1;
	forget();
	t.heap->t.pages[first].first = 0;
	if (_i)
		t.heap->t.page_span[first] = 0;
	adopt();
	ck_is_gone(first);
	ck_is_gone(last);
}
END_TEST

/* Only some of its numbers are its own so far, and no page. */
START_TEST(span_half_made)
{
	struct ledger ledger;
	uint32_t first;

	testheap_start(&t);
	first = unused_span();
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	for (uint32_t p = first; p < first + t.heap->t.spans[first].npages; p++)
		t.heap->t.page_span[p] = t.heap->t.pages[p].first = 0;
	if (_i)
		ledger.owner[t.heap->t.spans[first].slab0 / HEAPD_SLAB_UNIT] = 0;
	adopt();
	ck_is_gone(first);
	ck_assert_uint_eq(t.heap->ledger->owner[t.heap->t.spans[first].slab0 / HEAPD_SLAB_UNIT], 0);
}
END_TEST

START_TEST(large_half_made)
{
	struct ledger ledger;
	uint64_t address;
	uint32_t first;
	bool zeroed;

	testheap_start(&t);
	ck_assert_int_eq(supply_large(t.heap, HEAPD_SIZECLASS_LARGE, MIB, 8, 0, &address, &zeroed), 0);
	first = (uint32_t)((address - t.heap->t.base) >> HEAPD_PAGE_SHIFT);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	ledger.out[t.heap->t.spans[first].slab0] = 0;
	adopt();
	ck_is_gone(first);
	ck_assert_uint_eq(stats_now().large, 0);
}
END_TEST

static void hole_make(const struct ledger *ledger, uint64_t chunk, uint64_t pages)
{
	for (unsigned w = 0; w < LEDGER_HOLE_WORDS; w++)
		ledger->head->hole.pages[w] = pages;
	ledger->head->hole.chunk = chunk + 1;
}

/* Of a chunk in which something is in use, what is on its way counts as gone, and as dirty; whether that was said already or not. */
START_TEST(punching_pages)
{
	struct heapd_batch batch;
	struct ledger ledger;
	uint64_t committed, chunk = 0, bits = UINT64_C(0xffff0000), first;
	bool zeroed;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	committed = stats_now().committed;
	while (ledger.committed[0] >> (chunk + 1) & 1)
		chunk++;
	hole_make(&ledger, chunk, bits);
	for (unsigned w = 0; w < LEDGER_HOLE_WORDS; w++)
		ledger.dirty[chunk * LEDGER_HOLE_WORDS + w] = bits;
	ledger.gone[chunk * LEDGER_HOLE_WORDS] = _i ? bits : 0;
	adopt();
	ck_assert_uint_eq(t.heap->ledger->head->hole.chunk, 0);
	ck_assert_uint_eq(stats_now().committed, committed - (16 * LEDGER_HOLE_WORDS << HEAPD_PAGE_SHIFT));
	ck_assert_uint_eq(t.heap->pages->gone_pages, 16 * LEDGER_HOLE_WORDS);
	while (t.heap->pages->gone_pages) {
		heap_lock(t.heap);
		ck_assert_int_eq(pages_take(t.heap->pages, 16, 16, &first, &zeroed), 0);
		heap_unlock(t.heap);
		if (first / HEAPD_CHUNK_PAGES == chunk && first % 64 == 16)
			ck_assert(!zeroed);
	}
}
END_TEST

/* A daemon that ends as the last chunk of its heap is on its way to the system: which one, and what was committed. */
static uint64_t die_punching(uint64_t *committed)
{
	struct heapd_batch batch;
	struct ledger ledger;
	uint64_t chunk = 0;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	*committed = stats_now().committed;
	while (ledger.committed[0] >> (chunk + 1) & 1)
		chunk++;
	ck_assert_uint_gt(chunk, 0);
	hole_make(&ledger, chunk, UINT64_MAX);
	return chunk;
}

/* A chunk on its way to the system counts as gone, and as dirty. */
START_TEST(punching)
{
	uint64_t committed;

	die_punching(&committed);
	adopt();
	ck_assert_uint_eq(stats_now().committed, committed - HEAPD_CHUNK_SIZE);
	ck_assert_uint_eq(t.heap->ledger->head->hole.chunk, 0);
}
END_TEST

/* One that the last daemon's process may punch still is left out until it is over, and is gone then. */
START_TEST(punching_late)
{
	struct punch last;
	uint64_t committed, chunk = die_punching(&committed);

	punch_init(&last);
	punch_open(&last, t.heap->ledger_fd);
	ck_assert(!punch_is_late(&last));
	adopt_memory();
	punch_open(&t.heap->punch, t.heap->ledger_fd);
	ck_assert(punch_is_late(&t.heap->punch));
	adopt_tables();
	ck_assert_uint_eq(stats_now().committed, committed);
	ck_assert_uint_eq(t.heap->pages->punched, HEAPD_CHUNK_PAGES);
	ck_assert(!runmap_is_free(&t.heap->pages->free, chunk * HEAPD_CHUNK_PAGES));
	ck_assert_uint_eq(scavenger_look(t.heap), 0);
	ck_assert_uint_eq(t.heap->ledger->head->hole.chunk, chunk + 1);
	punch_deinit(&last);
	scavenger_look(t.heap);
	ck_assert_uint_eq(t.heap->ledger->head->hole.chunk, 0);
	ck_assert_uint_eq(t.heap->pages->punched, 0);
	ck_assert_uint_eq(stats_now().committed, committed - HEAPD_CHUNK_SIZE);
}
END_TEST

static Suite *rebuild_suite(void)
{
	Suite *suite = suite_create("rebuild");
	TCase *tc = tcase_create("pages");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, span_half_freed, 0, 2);
	tcase_add_loop_test(tc, span_half_made, 0, 2);
	tcase_add_test(tc, large_half_made);
	tcase_add_test(tc, punching);
	tcase_add_loop_test(tc, punching_pages, 0, 2);
	tcase_add_test(tc, punching_late);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return testheap_run(rebuild_suite());
}
