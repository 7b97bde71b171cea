/* SPDX-License-Identifier: MIT */
/* What clients hold free, as gathered from their words: all of it, once, and nothing that makes no sense. */
#include "testheap.h"

static struct testheap t;
static struct ledger ledger;
static struct pages pages;
static struct spans spans;
static struct held held;

static void setup(void)
{
	testheap_init_with(&t, 256 * MIB, 256 * MIB, CONFIG_HUGE_NEVER, 4);
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	ck_assert_int_eq(pages_init(&pages, t.heap), 0);
	ck_assert_int_eq(spans_init(&spans, t.heap, &ledger, &pages), 0);
	held_init(&held);
}

static void teardown(void)
{
	held_deinit(&held);
	spans_deinit(&spans);
	pages_deinit(&pages);
	testheap_deinit(&t);
}

static uint32_t cut(uint32_t class)
{
	uint32_t first;

	ck_assert_int_eq(spans_cut(&spans, class, &first), 0);
	return first;
}

static uint64_t address(uint32_t first, uint32_t k)
{
	return (uint64_t)(uintptr_t)testheap_slot(&t, first, k, 0);
}

static struct heapd_current *rseq_word(uint64_t cpu, uint32_t class)
{
	return &t.heap->t.rseq_rows[cpu * HEAPD_CLASS_MAX + class].slabs[0];
}

static struct heapd_pair *cas_word(uint64_t cpu, uint32_t class)
{
	return &t.heap->t.cas_rows[cpu * HEAPD_CLASS_MAX + class];
}

static const struct held_slab *found(uint32_t first, uint32_t k)
{
	return held_find(&held, t.heap->t.spans[first].slab0 + k);
}

START_TEST(nothing_is_held_of_a_new_heap)
{
	ck_assert_ptr_null(held_find(&held, 0));
	ck_assert_int_eq(held_gather(&held, t.heap), 0);
	ck_assert_uint_eq(held.count, 0);
	ck_assert_ptr_null(held_find(&held, 0));
}
END_TEST

START_TEST(currents_of_both_tables_are_found)
{
	uint32_t class = heapd_sizeclass_of(64), first = cut(class);

	*rseq_word(0, class) = (struct heapd_current){ address(first, 0), 0xf0 };
	*rseq_word(3, class) = (struct heapd_current){ address(first, 1) | HEAPD_CURRENT_ZEROED, 0x1 };
	*cas_word(2, class) = (struct heapd_pair){ address(first, 0), 0xf };
	*cas_word(1, class) = (struct heapd_pair){ address(first, 1), 0 };
	ck_assert_int_eq(held_gather(&held, t.heap), 0);
	ck_assert_uint_eq(held.count, 2);
	ck_assert_uint_eq(found(first, 0)->current, 0xff);
	ck_assert_uint_eq(found(first, 0)->twice, 0);
	ck_assert_uint_eq(found(first, 0)->span, first);
	ck_assert_uint_eq(found(first, 1)->current, 1);
	ck_assert_uint_eq(held.current_bytes, 9 * 64);
	ck_assert_uint_eq(held.senseless, 0);
	/* Gathering again begins anew. */
	*rseq_word(0, class) = (struct heapd_current){ 0 };
	ck_assert_int_eq(held_gather(&held, t.heap), 0);
	ck_assert_uint_eq(found(first, 0)->current, 0xf);
	ck_assert_uint_eq(held.current_bytes, 5 * 64);
}
END_TEST

START_TEST(one_slot_in_two_currents_is_seen)
{
	uint32_t class = 2, first = cut(class);

	*rseq_word(0, class) = (struct heapd_current){ address(first, 2), 6 };
	*cas_word(0, class) = (struct heapd_pair){ address(first, 2), 12 };
	ck_assert_int_eq(held_gather(&held, t.heap), 0);
	ck_assert_uint_eq(found(first, 2)->current, 14);
	ck_assert_uint_eq(found(first, 2)->twice, 4);
}
END_TEST

START_TEST(spares_of_all_threads_are_found)
{
	uint32_t class = heapd_sizeclass_of(128), first = cut(class);
	struct heapd_batch b = { .entry = heapd_entry_make(first, 0, 1, 0), .class = class, .masks = { 3 } };

	t.threads[0].spares[0] = b;
	b.masks[0] = 12;
	t.threads[3].spares[HEAPD_SPARE_COUNT - 1] = b;
	b.masks[0] = 48;
	t.threads[4].spares[0] = b; /* beyond nthreads */
	*cas_word(0, class) = (struct heapd_pair){ address(first, 0), 2 };
	ck_assert_int_eq(held_gather(&held, t.heap), 0);
	ck_assert_uint_eq(found(first, 0)->spare, 15);
	ck_assert_uint_eq(found(first, 0)->current, 2);
	ck_assert_uint_eq(found(first, 0)->twice, 0);
	ck_assert_uint_eq(held.spare_bytes, 4 * 128);
	b.masks[0] = 8;
	t.threads[1].spares[0] = b;
	ck_assert_int_eq(held_gather(&held, t.heap), 0);
	ck_assert_uint_eq(found(first, 0)->twice, 8);
	clients_remove(t.heap, 0);
	ck_assert_int_eq(held_gather(&held, t.heap), 0);
	ck_assert_uint_eq(found(first, 0)->spare, 0);
}
END_TEST

START_TEST(slabs_of_a_batch_that_are_not_present_are_not_held)
{
	uint32_t class = 0, first = cut(class);
	struct heapd_batch b = { .entry = heapd_entry_make(first, 1, 0x5, 0),
				 .class = class,
				 .masks = { 1, 2, 4, 8 } };

	t.threads[0].spares[0] = b;
	ck_assert_int_eq(held_gather(&held, t.heap), 0);
	ck_assert_uint_eq(found(first, 1)->spare, 1);
	ck_assert_ptr_null(found(first, 2));
	ck_assert_uint_eq(found(first, 3)->spare, 4);
	ck_assert_ptr_null(found(first, 4));
}
END_TEST

START_TEST(bits_beyond_the_slab_do_not_count)
{
	uint32_t class = heapd_sizeclass_of(8192), first = cut(class);

	ck_assert_uint_eq(t.heap->t.spans[first].nslots, 4); /* fewer than a whole slab has */
	*cas_word(0, class) = (struct heapd_pair){ address(first, 0), UINT64_MAX };
	*cas_word(1, class) = (struct heapd_pair){ address(first, 0), UINT64_MAX << 4 };
	ck_assert_int_eq(held_gather(&held, t.heap), 0);
	ck_assert_uint_eq(found(first, 0)->current, 15);
	ck_assert_uint_eq(held.current_bytes, 4 * 8192);
}
END_TEST

START_TEST(bases_that_name_no_slab)
{
	uint32_t class = 4, first = cut(class), other = cut(5), large, a, b;
	uint64_t base = t.heap->t.base, beyond = (uint64_t)pages.free.high << HEAPD_PAGE_SHIFT;
	bool zeroed;

	ck_assert_int_eq(spans_cut_large(&spans, HEAPD_SIZECLASS_LARGE, 65536, 16, &large, &zeroed), 0);
	beyond = (uint64_t)pages.free.high << HEAPD_PAGE_SHIFT;
	const uint64_t bad[] = {
		0,
		1,
		UINT64_MAX,
		base - 1,
		base - 8192,
		base + t.heap->t.size,
		base + t.heap->t.size + 64,
		base + beyond,
		base + t.heap->t.size - 16,
		address(first, 0) + 2,
		address(first, 0) + 80,
		address(first, 1) + 16,
		address(other, 0),
		address(first, 0) + ((uint64_t)t.heap->t.spans[first].npages << HEAPD_PAGE_SHIFT) - 16,
		address(first, heapd_span_slabs(&t.heap->t.spans[first])),
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(!held_resolve(t.heap, class, bad[i], &a, &b), "0x%llx",
			      (unsigned long long)bad[i]);
		*cas_word(0, class) = (struct heapd_pair){ bad[i], 1 };
		ck_assert_int_eq(held_gather(&held, t.heap), 0);
		ck_assert_uint_eq(held.senseless, 1);
		ck_assert_uint_eq(held.count, 0);
	}
	ck_assert(!held_resolve(t.heap, HEAPD_SIZECLASS_LARGE, base + ((uint64_t)large << HEAPD_PAGE_SHIFT),
				&a, &b));
	for (uint32_t k = 0; k < heapd_span_slabs(&t.heap->t.spans[first]); k++) {
		ck_assert(held_resolve(t.heap, class, address(first, k) | HEAPD_CURRENT_ZEROED, &a, &b));
		ck_assert(a == first && b == k);
	}
}
END_TEST

START_TEST(batches_that_name_no_slabs)
{
	uint32_t class = 4, before = cut(9), first = cut(class),
		 slabs = heapd_span_slabs(&t.heap->t.spans[first]);
	const struct heapd_batch bad[] = {
		{ .entry = heapd_entry_make(first, 0, 0, 0), .class = class },
		{ .entry = heapd_entry_make(first, 0, 1, 0), .class = class + 1 },
		{ .entry = heapd_entry_make(first, 0, 1, 0), .class = class + 65536 },
		{ .entry = heapd_entry_make(first, slabs, 1, 0), .class = class },
		{ .entry = heapd_entry_make(first, 255, 0x8000, 0), .class = class },
		{ .entry = heapd_entry_make(first, 0, 1u << slabs, 0), .class = class },
		{ .entry = heapd_entry_make(first + 1, 0, 1, 0), .class = class },
		{ .entry = heapd_entry_make((uint32_t)t.heap->geometry.pages, 0, 1, 0), .class = class },
		{ .entry = UINT64_MAX, .class = UINT64_MAX },
	};

	ck_assert_uint_lt(before, first); /* so that no entry is 0, which stands for none */
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(!held_batch_valid(t.heap, &bad[i]), "%zu", i);
		t.threads[0].spares[0] = bad[i];
		memset(t.threads[0].spares[0].masks, 0xff, sizeof(bad[i].masks));
		ck_assert_int_eq(held_gather(&held, t.heap), 0);
		ck_assert_uint_eq(held.senseless, 1);
		ck_assert_uint_eq(held.count, 0);
	}
	ck_assert(held_batch_valid(
		t.heap,
		&(struct heapd_batch){ .entry = heapd_entry_make(first, slabs - 1, 1, 0), .class = class }));
	t.session->nthreads = UINT32_MAX;
	ck_assert_int_eq(held_gather(&held, t.heap), 0);
}
END_TEST

/* More slabs than the table begins with: it grows and loses none. */
START_TEST(thousands_of_slabs)
{
	static uint32_t firsts[250 * HEAPD_SPARE_COUNT], ks[250 * HEAPD_SPARE_COUNT];
	uint32_t class = 9, k = 0, first = cut(class);
	unsigned n = 0;

	t.session->nthreads = HEAPD_THREAD_MAX;
	for (unsigned thread = 0; thread < 250; thread++)
		for (unsigned i = 0; i < HEAPD_SPARE_COUNT; i++, n++, k++) {
			struct heapd_batch *b = &t.threads[thread].spares[i];

			if (k == heapd_span_slabs(&t.heap->t.spans[first])) {
				first = cut(class);
				k = 0;
			}
			firsts[n] = first;
			ks[n] = k;
			*b = (struct heapd_batch){ .class = class, .masks = { n % 3 + 1 } };
			b->entry = heapd_entry_make(first, k, 1, 0);
		}
	ck_assert_int_eq(held_gather(&held, t.heap), 0);
	ck_assert_uint_eq(held.count, n);
	ck_assert_uint_gt(n, 1024);
	ck_assert_uint_eq(held.senseless, 0);
	for (unsigned i = 0; i < n; i++)
		ck_assert_uint_eq(found(firsts[i], ks[i])->spare, i % 3 + 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("held");
	TCase *tests = tcase_create("held");

	tcase_set_timeout(tests, 30);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, nothing_is_held_of_a_new_heap);
	tcase_add_test(tests, currents_of_both_tables_are_found);
	tcase_add_test(tests, one_slot_in_two_currents_is_seen);
	tcase_add_test(tests, spares_of_all_threads_are_found);
	tcase_add_test(tests, slabs_of_a_batch_that_are_not_present_are_not_held);
	tcase_add_test(tests, bits_beyond_the_slab_do_not_count);
	tcase_add_test(tests, bases_that_name_no_slab);
	tcase_add_test(tests, batches_that_name_no_slabs);
	tcase_add_test(tests, thousands_of_slabs);
	suite_add_tcase(suite, tests);
	return testheap_run(suite);
}
