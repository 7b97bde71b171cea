/* SPDX-License-Identifier: MIT */
/* Spans: cut as their class says, found from each of their pages, counted, listed and given back whole. */
#include "daemon/marks.h"
#include "testheap.h"

static struct testheap t;
static struct ledger ledger;
static struct pages pages;
static struct spans spans;

static void setup(void)
{
	testheap_init(&t, 256 * MIB, 256 * MIB);
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	ck_assert_int_eq(pages_init(&pages, t.heap), 0);
	ck_assert_int_eq(spans_init(&spans, t.heap, &ledger, &pages), 0);
}

static void teardown(void)
{
	spans_deinit(&spans);
	pages_deinit(&pages);
	testheap_deinit(&t);
}

static uint32_t cut(uint32_t class)
{
	uint32_t first = SPAN_NONE;

	ck_assert_int_eq(spans_cut(&spans, class, &first), 0);
	return first;
}

/* Everything that a record says, against the class and the tables. */
static void span_is_right(uint32_t first, uint32_t class)
{
	const struct heapd_span *s = &t.heap->t.spans[first];
	const struct heapd_class *c = &t.heap->t.classes[class];
	uint64_t bytes = (uint64_t)s->npages << HEAPD_PAGE_SHIFT;

	ck_assert_uint_eq(s->class, class);
	ck_assert_uint_eq(s->elemsize, c->slot_size);
	ck_assert_uint_eq(s->nslots, bytes / c->slot_size);
	ck_assert_uint_le(heapd_span_slabs(s), SPAN_SLABS_MAX);
	ck_assert_uint_le((bytes - s->nslots * s->elemsize) * 8, bytes);
	for (uint32_t p = 0; p < s->npages; p++) {
		ck_assert_uint_eq(t.heap->t.page_span[first + p], first + 1);
		ck_assert(!runmap_is_free(&pages.free, first + p));
	}
	for (uint32_t k = 0; k < heapd_span_slabs(s); k++) {
		uint32_t owner = SPAN_NONE;

		ck_assert(ledger_span_of(&ledger, s->slab0 + k, &owner));
		ck_assert_uint_eq(owner, first);
		ck_assert(bits_get(span_state_of(&spans, first)->ready, k));
		ck_assert_uint_eq(ledger.out[s->slab0 + k], 0);
	}
}

START_TEST(every_class_is_cut_as_it_says)
{
	for (uint32_t class = 0; class < HEAPD_CLASS_BUILTIN; ++class) {
		if (!t.heap->t.classes[class].slot_size)
			continue;
		uint32_t first = cut(class);

		span_is_right(first, class);
		ck_assert_uint_eq(spans_ready(&spans, class), first);
		ck_assert_uint_eq(t.heap->t.class_stats[class].spans, 1);
		ck_assert_uint_eq(t.heap->t.class_stats[class].pages, t.heap->t.spans[first].npages);
		spans_free(&spans, first);
		ck_assert_uint_eq(spans_ready(&spans, class), SPAN_NONE);
		ck_assert_uint_eq(t.heap->t.page_span[first], 0);
	}
	ck_assert_uint_eq(pages.in_spans, 0);
	ck_assert_uint_eq(pages.free.free, pages.free.units);
	ck_assert_uint_eq(spans.numbers.free, spans.numbers.units);
}
END_TEST

START_TEST(a_class_that_has_much_gets_larger_spans)
{
	uint32_t most = 0;

	for (uint32_t class = 0; class < HEAPD_SIZECLASS_COUNT; class += 7) {
		for (int i = 0; i < 100; i++) {
			uint32_t first = cut(class);

			span_is_right(first, class);
			if (t.heap->t.spans[first].npages > most)
				most = t.heap->t.spans[first].npages;
			ck_assert_uint_le(t.heap->t.spans[first].npages * HEAPD_PAGE_SIZE, 1ul << 18);
		}
		while (spans_ready(&spans, class) != SPAN_NONE)
			spans_free(&spans, spans_ready(&spans, class));
	}
	ck_assert_uint_gt(most, 1);
	ck_assert_uint_eq(spans.numbers.free, spans.numbers.units);
}
END_TEST

START_TEST(slots_go_out_and_come_back_once)
{
	uint32_t class = heapd_sizeclass_of(64), first = cut(class), slab0 = t.heap->t.spans[first].slab0;
	const struct heapd_stats *stats = testheap_stats(&t);

	ck_assert_uint_eq(spans_slots_out(&spans, first, 1, 0xff), 0xff);
	ck_assert_uint_eq(spans_slots_out(&spans, first, 1, 0x1ff), 0x100);
	ck_assert_uint_eq(spans_slots_out(&spans, first, 1, 0x1ff), 0);
	ck_assert_uint_eq(stats->out, 9 * 64);
	ck_assert_uint_eq(t.heap->t.class_stats[class].out_slots, 9);
	ck_assert_uint_eq(ledger.out[slab0 + 1], 0x1ff);
	ck_assert(!spans_is_unused(&spans, first));
	ck_assert_uint_eq(spans_slots_free(&spans, first, 1, 0x3f0), 0x1f0);
	ck_assert_uint_eq(spans_slots_free(&spans, first, 1, 0x3f0), 0);
	ck_assert_uint_eq(stats->out, 4 * 64);
	ck_assert_uint_eq(spans_slots_free(&spans, first, 1, UINT64_MAX), 0xf);
	ck_assert(spans_is_unused(&spans, first));
	ck_assert_uint_eq(stats->out, 0);
}
END_TEST

/* As one slab after the other: what does not change counts for nothing, and a slab that lies in a ring is not ready. */
START_TEST(slots_of_all_slabs_come_back_at_once)
{
	uint32_t class = heapd_sizeclass_of(64), first = cut(class),
		 slabs = heapd_span_slabs(&t.heap->t.spans[first]);
	struct span_state *state = span_state_of(&spans, first);
	const struct heapd_stats *stats = testheap_stats(&t);
	uint64_t masks[SPAN_SLABS_MAX] = { 0 };

	for (uint32_t k = 0; k < slabs; k++)
		spans_slots_out(&spans, first, k, UINT64_MAX);
	ck_assert_uint_eq(spans_ready(&spans, class), SPAN_NONE);
	ck_assert_uint_eq(spans_slots_free_each(&spans, first, masks), 0);
	spans_slab_ringed(&spans, first, 0, true);
	masks[0] = 0xff;
	ck_assert_uint_eq(spans_slots_free_each(&spans, first, masks), 8);
	ck_assert_uint_eq(spans_ready(&spans, class), SPAN_NONE);
	masks[1] = 7;
	ck_assert_uint_eq(spans_slots_free_each(&spans, first, masks), 3);
	ck_assert_uint_eq(spans_ready(&spans, class), first);
	ck_assert(!bits_get(state->ready, 0) && bits_get(state->ready, 1));
	ck_assert_uint_eq(state->out, t.heap->t.spans[first].nslots - 11);
	ck_assert_uint_eq(stats->out, state->out * 64ull);
	ck_assert_uint_eq(state->busy, slabs);
	memset(masks, 0xff, sizeof(masks));
	ck_assert_uint_eq(spans_slots_free_each(&spans, first, masks), t.heap->t.spans[first].nslots - 11);
	spans_slab_ringed(&spans, first, 0, false);
	ck_assert(spans_is_unused(&spans, first));
	ck_assert_uint_eq(state->busy, 0);
	ck_assert_uint_eq(stats->out, 0);
}
END_TEST

START_TEST(slots_beyond_the_span_never_go_out)
{
	for (uint32_t class = 0; class < HEAPD_SIZECLASS_COUNT; ++class) {
		uint32_t first = cut(class), n = 0;
		const struct heapd_span *s = &t.heap->t.spans[first];

		for (uint32_t k = 0; k < heapd_span_slabs(s); k++)
			n += (uint32_t)__builtin_popcountll(spans_slots_out(&spans, first, k, UINT64_MAX));
		ck_assert_uint_eq(n, s->nslots);
		ck_assert_uint_eq(spans_ready(&spans, class), SPAN_NONE);
		ck_assert_uint_eq(span_state_of(&spans, first)->busy, heapd_span_slabs(s));
	}
}
END_TEST

START_TEST(ready_is_what_is_free_and_in_no_ring)
{
	uint32_t class = heapd_sizeclass_of(64), first = cut(class), slabs;
	struct span_state *state = span_state_of(&spans, first);

	slabs = heapd_span_slabs(&t.heap->t.spans[first]);
	for (uint32_t k = 0; k < slabs; k++)
		spans_slab_ringed(&spans, first, k, true);
	ck_assert_uint_eq(spans_ready(&spans, class), SPAN_NONE);
	spans_slab_ringed(&spans, first, slabs - 1, false);
	ck_assert_uint_eq(spans_ready(&spans, class), first);
	ck_assert(bits_get(state->ready, slabs - 1));
	spans_slots_out(&spans, first, slabs - 1, UINT64_MAX);
	ck_assert_uint_eq(spans_ready(&spans, class), SPAN_NONE);
	/* Freed while in a ring: ready only when it leaves. */
	spans_slots_out(&spans, first, 0, 3);
	spans_slots_free(&spans, first, 0, 1);
	ck_assert_uint_eq(spans_ready(&spans, class), SPAN_NONE);
	spans_slab_ringed(&spans, first, 0, false);
	ck_assert_uint_eq(spans_ready(&spans, class), first);
}
END_TEST

/* Whatever came back last: the emptiest are left to run empty. */
START_TEST(the_fullest_quarter_is_supplied_first)
{
	uint32_t class = heapd_sizeclass_of(1024), first[4], nslots;

	for (int i = 0; i < 4; i++) {
		first[i] = cut(class);
		nslots = t.heap->t.spans[first[i]].nslots;
		for (uint32_t k = 0; k < heapd_span_slabs(&t.heap->t.spans[first[i]]); k++)
			spans_slots_out(&spans, first[i], k, UINT64_MAX);
		ck_assert_uint_eq(span_state_of(&spans, first[i])->out, nslots);
	}
	/* One slot of the last is free; half of the first; all but one of the second; the third comes last. */
	spans_slots_free(&spans, first[3], 0, 1);
	for (uint32_t i = 0; i < nslots / 2; i++)
		spans_slots_free(&spans, first[0], i / 16, 1ull << i % 16);
	for (uint32_t i = 1; i < nslots; i++)
		spans_slots_free(&spans, first[1], i / 16, 1ull << i % 16);
	ck_assert_uint_eq(spans_ready(&spans, class), first[3]);
	spans_slots_out(&spans, first[3], 0, 1);
	ck_assert_uint_eq(spans_ready(&spans, class), first[0]);
	spans_slots_free(&spans, first[2], 0, 1);
	ck_assert_uint_eq(spans_ready(&spans, class), first[2]);
	spans_slots_out(&spans, first[2], 0, 1);
	for (uint32_t k = 0; k < heapd_span_slabs(&t.heap->t.spans[first[0]]); k++)
		spans_slots_out(&spans, first[0], k, UINT64_MAX);
	ck_assert_uint_eq(spans_ready(&spans, class), first[1]);
}
END_TEST

START_TEST(lists_hold_whatever_is_ready)
{
	uint32_t class = 3, first[5];

	for (int i = 0; i < 5; i++)
		first[i] = cut(class);
	spans_free(&spans, first[2]);
	spans_free(&spans, first[4]);
	spans_free(&spans, first[0]);
	ck_assert_uint_eq(spans_ready(&spans, class), first[3]);
	ck_assert_uint_eq(span_state_of(&spans, first[3])->next, first[1]);
	ck_assert_uint_eq(span_state_of(&spans, first[1])->next, SPAN_NONE);
	ck_assert_uint_eq(span_state_of(&spans, first[1])->prev, first[3]);
}
END_TEST

START_TEST(large_objects_have_spans_of_their_own)
{
	uint32_t class = HEAPD_SIZECLASS_LARGE, a, b;
	bool zeroed = false;

	ck_assert_int_eq(spans_cut_large(&spans, class, 33000, 16, &a, &zeroed), 0);
	ck_assert(zeroed);
	ck_assert_uint_eq(t.heap->t.spans[a].npages, 5);
	ck_assert_uint_eq(t.heap->t.spans[a].nslots, 1);
	ck_assert_uint_eq(heapd_span_index(&t.heap->t.spans[a], 40000), 0);
	ck_assert_int_eq(spans_cut_large(&spans, class, 3 * MIB, 2 * MIB, &b, &zeroed), 0);
	ck_assert_uint_eq(b % HEAPD_CHUNK_PAGES, 0);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->large), 5 * HEAPD_PAGE_SIZE + 3 * MIB);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->out), 5 * HEAPD_PAGE_SIZE + 3 * MIB);
	ck_assert_uint_eq(spans_slots_free(&spans, a, 0, UINT64_MAX), 1);
	spans_free(&spans, a);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->large), 3 * MIB);
	ck_assert_int_eq(spans_cut_large(&spans, class, 33000, 16, &a, &zeroed), 0);
	ck_assert(!zeroed);
}
END_TEST

START_TEST(impossible_sizes_are_refused)
{
	uint32_t first = 7;
	bool zeroed;

	ck_assert_int_eq(spans_cut_large(&spans, HEAPD_SIZECLASS_LARGE, 0, 16, &first, &zeroed), -ENOMEM);
	ck_assert_int_eq(spans_cut_large(&spans, HEAPD_SIZECLASS_LARGE, 256 * MIB + 1, 16, &first, &zeroed),
			 -ENOMEM);
	ck_assert_int_eq(spans_cut_large(&spans, HEAPD_SIZECLASS_LARGE, UINT64_MAX, 16, &first, &zeroed),
			 -ENOMEM);
	ck_assert_int_eq(
		spans_cut_large(&spans, HEAPD_SIZECLASS_LARGE, UINT64_MAX - 8191, 16, &first, &zeroed),
		-ENOMEM);
	ck_assert_uint_eq(first, 7);
	ck_assert_uint_eq(spans.numbers.free, spans.numbers.units);
}
END_TEST

/* What was freed late, for the span that lay here before, is not for this one. */
START_TEST(a_new_span_has_no_freed_bits)
{
	uint32_t first = cut(0), slab0 = t.heap->t.spans[first].slab0;

	spans_free(&spans, first);
	memset(&t.heap->t.freed[slab0], 0xff, 64);
	ck_assert_uint_eq(cut(1), first);
	ck_assert_uint_eq(t.heap->t.spans[first].slab0, slab0);
	for (uint32_t k = 0; k < heapd_span_slabs(&t.heap->t.spans[first]); k++)
		ck_assert_uint_eq(t.heap->t.freed[slab0 + k], 0);
}
END_TEST

/* Where many neighbouring numbers cannot be had, the smallest span still can. */
START_TEST(scattered_slab_numbers_still_serve_small_spans)
{
	uint32_t first;

	for (int i = 0; i < 40; i++)
		cut(0);
	for (uint64_t at = spans.numbers.high; at < spans.numbers.units; at += 2)
		ck_assert_int_eq(runmap_claim(&spans.numbers, at, 1), 0);
	first = cut(0);
	ck_assert_uint_eq(t.heap->t.spans[first].npages, t.heap->t.classes[0].span_pages);
	ck_assert_uint_eq(pages.in_spans, t.heap->t.class_stats[0].pages);
}
END_TEST

START_TEST(nothing_is_left_behind_when_numbers_run_out)
{
	uint32_t first = 7;
	uint64_t at;
	bool zeroed;

	ck_assert_int_eq(runmap_take(&spans.numbers, spans.numbers.units, 1, &at), 0);
	ck_assert_int_eq(spans_cut(&spans, 0, &first), -ENOMEM);
	ck_assert_int_eq(spans_cut_large(&spans, HEAPD_SIZECLASS_LARGE, 40000, 16, &first, &zeroed), -ENOMEM);
	ck_assert_uint_eq(first, 7);
	ck_assert_uint_eq(pages.in_spans, 0);
	ck_assert_uint_eq(pages.free.free, pages.free.units);
}
END_TEST

/* The marker may be at work: its words are not touched. */
START_TEST(slots_that_come_back_are_held)
{
	uint32_t first, slab;

	first = cut(heapd_sizeclass_of(64));
	slab = t.heap->t.spans[first].slab0;
	spans_slots_out(&spans, first, 0, 0xff);
	t.heap->marks->mark[slab] = t.heap->marks->hold[slab] = 0;
	spans_slots_free(&spans, first, 0, 0x30);
	ck_assert_uint_eq(t.heap->marks->hold[slab], 0x30);
	ck_assert_uint_eq(t.heap->marks->mark[slab], 0);
}
END_TEST

/* In quarantine: nothing of it is supplied or given back, whatever comes back to it. */
START_TEST(a_span_that_is_lost_is_never_ready_nor_unused)
{
	uint32_t first = cut(3), other;

	spans_slots_out(&spans, first, 0, 7);
	spans_lose(&spans, first);
	ck_assert_uint_eq(spans_ready(&spans, 3), SPAN_NONE);
	spans_slots_free(&spans, first, 0, 7);
	spans_slab_ringed(&spans, first, 1, false);
	ck_assert_uint_eq(spans_ready(&spans, 3), SPAN_NONE);
	ck_assert(!spans_is_unused(&spans, first));
	other = cut(3);
	ck_assert_uint_ne(other, first);
	ck_assert_uint_eq(spans_ready(&spans, 3), other);
	ck_assert(spans_is_unused(&spans, other));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spans");
	TCase *tests = tcase_create("spans");

	tcase_set_timeout(tests, 30);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, every_class_is_cut_as_it_says);
	tcase_add_test(tests, slots_that_come_back_are_held);
	tcase_add_test(tests, a_class_that_has_much_gets_larger_spans);
	tcase_add_test(tests, slots_go_out_and_come_back_once);
	tcase_add_test(tests, slots_of_all_slabs_come_back_at_once);
	tcase_add_test(tests, slots_beyond_the_span_never_go_out);
	tcase_add_test(tests, ready_is_what_is_free_and_in_no_ring);
	tcase_add_test(tests, the_fullest_quarter_is_supplied_first);
	tcase_add_test(tests, lists_hold_whatever_is_ready);
	tcase_add_test(tests, large_objects_have_spans_of_their_own);
	tcase_add_test(tests, impossible_sizes_are_refused);
	tcase_add_test(tests, a_new_span_has_no_freed_bits);
	tcase_add_test(tests, scattered_slab_numbers_still_serve_small_spans);
	tcase_add_test(tests, a_span_that_is_lost_is_never_ready_nor_unused);
	tcase_add_test(tests, nothing_is_left_behind_when_numbers_run_out);
	suite_add_tcase(suite, tests);
	return testheap_run(suite);
}
