/* SPDX-License-Identifier: MIT */
/* Which words of an object the marker follows, to which slot each leads, and what is marked by that: as by the naive marker. */
#include "naivemarker.h"

/* Each word of o points to an object of its own; those are marked that the sort calls pointers. */
static void check_words(const struct object *o)
{
	static struct sort leaf;
	uint64_t n = o->n < 200 ? o->n : 200, step = o->n / n;
	const struct object from = *o;
	uint64_t **targets = malloc(n * sizeof(*targets));

	leaf = sort_builtin(HEAPD_TYPE_LEAF, 16);
	for (uint64_t i = 0; i < n; i++) {
		targets[i] = make(&leaf)->words;
		from.words[i * step] = word_of(targets[i]);
	}
	mark_from(from.words);
	for (uint64_t i = 0; i < n; i++)
		ck_assert_msg(is_marked(targets[i]) == is_pointer(&from, i * step), "word %llu of %llu",
			      (unsigned long long)(i * step), (unsigned long long)from.n);
	free(targets);
}

START_TEST(a_map_names_exactly_the_words_that_are_followed)
{
	struct sort two = sort_fixed("two", 64, 0x42), all = sort_fixed("all", 64, 0xff),
		    none = sort_fixed("none", 48, 0), wide = sort_fixed("wide", 4000, 0x8000000000000001ull),
		    full = sort_fixed("full", 512, UINT64_MAX);

	check_words(make(&two));
	check_words(make(&all));
	check_words(make(&none));
	check_words(make(&wide));
	check_words(make(&full));
}
END_TEST

START_TEST(objects_without_a_type_are_followed_in_all_words_or_none)
{
	static const uint64_t sizes[] = { 16, 48, 64, 512, 576, 1024, 4096, 32768 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct sort any = sort_builtin(HEAPD_TYPE_ANY, sizes[i]),
			    leaf = sort_builtin(HEAPD_TYPE_LEAF, sizes[i]);

		check_words(make(&any));
		check_words(make(&leaf));
	}
}
END_TEST

START_TEST(a_map_repeats_in_an_array_and_not_in_what_is_left_at_its_end)
{
	static const uint64_t sizes[] = { 24, 8, 16, 40, 72, 128, 264, 504, 512, 520, 776 };
	char name[16];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (uint64_t bytes = sizes[i] * 2; bytes <= 32768; bytes *= 3) {
			snprintf(name, sizeof(name), "a%zu-%llu", i, (unsigned long long)bytes);
			struct sort s = sort_array(name, (uint32_t)sizes[i], sizes[i] > 8 ? 2 : 1, bytes);

			check_words(make(&s));
		}
	}
}
END_TEST

START_TEST(a_map_of_more_than_a_word_is_followed_and_repeats)
{
	struct heapd_type_request request = { .name = "long", .size = 800, .align = 8, .map_bits = 100 };
	struct sort fixed = { .map = 0x8000000000000001ull, .more = 0x800000005ull }, array;
	struct heapd_type_reply reply;
	struct refusal why;

	request.map[0] = fixed.map;
	request.map[1] = fixed.more;
	ck_assert_int_eq(types_define(t.heap, &request, true, &reply, &why), 0);
	array = fixed;
	array.period = 100;
	fixed.class = class_of(reply.type, HEAPD_KIND_FIXED, 800);
	array.class = class_of(reply.type, HEAPD_KIND_ARRAY, 1600);
	check_words(make(&fixed));
	check_words(make(&array));
}
END_TEST

START_TEST(a_flexible_array_is_of_pointers_or_of_bytes)
{
	struct sort pointers = sort_flex("pointers", 24, 1, true, 400),
		    bytes = sort_flex("bytes", 24, 3, false, 400), only = sort_flex("only", 8, 0, true, 2000);

	check_words(make(&pointers));
	check_words(make(&bytes));
	check_words(make(&only));
}
END_TEST

START_TEST(large_objects_are_followed_as_their_sort_says)
{
	struct sort any = sort_builtin(HEAPD_TYPE_ANY, 100000), leaf = sort_builtin(HEAPD_TYPE_LEAF, 100000),
		    array = sort_array("array", 24, 5, 100000), flex = sort_flex("flex", 40, 2, true, 100000),
		    fixed = sort_fixed("fixed", 65536, 0x5);

	check_words(make_large(&any, 100000));
	check_words(make_large(&any, 33000));
	check_words(make_large(&any, 32768 * 4));
	check_words(make_large(&leaf, 100000));
	check_words(make_large(&array, 100000));
	check_words(make_large(&array, 500000));
	check_words(make_large(&flex, 100000));
	check_words(make_large(&fixed, 65536));
}
END_TEST

START_TEST(a_type_of_odd_size_is_followed_in_every_word_of_an_array)
{
	uint32_t type = define("odd", 20, 1, 0, 0, 0);
	struct sort s = { .class = class_of(type, HEAPD_KIND_ARRAY, 200), .every = true };

	check_words(make(&s));
}
END_TEST

START_TEST(any_byte_of_an_object_leads_to_it)
{
	static const uint64_t sizes[] = { 16, 48, 80, 896, 7168, 28672 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct sort any = sort_builtin(HEAPD_TYPE_ANY, sizes[i]);
		uint64_t *before = make(&any)->words, *o = make(&any)->words, *after = make(&any)->words;
		uint64_t bytes = (uint64_t)((char *)after - (char *)o);

		for (uint64_t at = 0; at < bytes; at++) {
			mark_from((char *)o + at);
			ck_assert_msg(is_marked(o), "%llu of %llu", (unsigned long long)at,
				      (unsigned long long)bytes);
			ck_assert_uint_eq(marked_bits(), 1);
		}
		mark_from((char *)o + bytes);
		ck_assert(is_marked(after) && !is_marked(o) && !is_marked(before));
	}
}
END_TEST

/* Each byte of a span of each class: the slot by division, or none in the gap at its end. */
START_TEST(each_word_of_each_class_leads_to_its_slot)
{
	for (uint32_t class = 0; class < HEAPD_CLASS_BUILTIN; ++class) {
		uint32_t first;
		struct slot s;

		if (!t.heap->t.classes[class].slot_size)
			continue;
		ck_assert_int_eq(spans_cut(&spans, class, &first), 0);
		const struct heapd_span *span = &t.heap->t.spans[first];
		uint64_t start = (uint64_t)first << HEAPD_PAGE_SHIFT,
			 bytes = (uint64_t)span->npages << HEAPD_PAGE_SHIFT;

		for (uint64_t at = 0; at < bytes; at += 8) {
			uint64_t index = at / span->elemsize;
			bool found = slot_find(&t.heap->t, word_of(at_offset(start + at)), &s);

			ck_assert_msg(found == (index < span->nslots), "class %u at %llu", class,
				      (unsigned long long)at);
			if (!found)
				continue;
			ck_assert_uint_eq(s.at * 8, start + index * span->elemsize);
			ck_assert_uint_eq(s.slab, span->slab0 + index / span->slab_slots);
			ck_assert_uint_eq(s.bit, index % span->slab_slots);
			ck_assert_uint_eq(s.class, class);
			ck_assert_uint_eq(s.words * 8ul, span->elemsize);
			ck_assert_uint_eq(s.first, first);
		}
	}
}
END_TEST

START_TEST(words_that_lead_nowhere_mark_nothing)
{
	struct sort any = sort_builtin(HEAPD_TYPE_ANY, 80); /* 102 of them in a page, and 32 bytes */
	struct object o = *make(&any);
	uint64_t base = t.heap->t.base, size = t.heap->t.size;
	uint32_t first = (uint32_t)((word_of(o.words) - base) >> HEAPD_PAGE_SHIFT);
	uint64_t end = (uint64_t)t.heap->t.spans[first].npages << HEAPD_PAGE_SHIFT;
	const uint64_t words[] = {
		0,
		1,
		base - 1,
		base + size,
		base + size - 1,
		base + size / 2,
		UINT64_MAX,
		base | 1ull << 63,
		word_of(o.words) + end - 8, /* the gap at the span's end */
		word_of(o.words) + end,
	};

	ck_assert_uint_lt(t.heap->t.spans[first].nslots * t.heap->t.spans[first].elemsize, end);
	memcpy(o.words, words, sizeof(words));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		ck_assert(!marker_shade(marker, words[i]));
	mark_from(o.words);
	ck_assert_uint_eq(marked_bits(), 1);
	ck_assert(is_marked(o.words));
	ck_assert_uint_eq(marker_counts(marker)->foreign, 0); /* no map said that these were pointers */
}
END_TEST

START_TEST(a_word_from_a_stack_stands_for_the_byte_before_it_too)
{
	struct sort any = sort_builtin(HEAPD_TYPE_ANY, 64);
	uint64_t *a = make(&any)->words, *b = make(&any)->words;
	uint64_t word = word_of(b);

	marker_begin(marker);
	ck_assert_uint_eq(marker_shade_all(marker, &word, 1, true), 2);
	ck_assert(is_marked(a) && is_marked(b));
	marks_clear();
	marker_begin(marker);
	ck_assert_uint_eq(marker_shade_all(marker, &word, 1, false), 1);
	ck_assert(!is_marked(a) && is_marked(b));
	word += 8; /* inside: one and the same */
	marks_clear();
	marker_begin(marker);
	ck_assert_uint_eq(marker_shade_all(marker, &word, 1, true), 1);
}
END_TEST

START_TEST(shading_says_what_was_white)
{
	struct sort any = sort_builtin(HEAPD_TYPE_ANY, 64);
	uint64_t words[300];

	for (size_t i = 0; i < 300; i++)
		words[i] = word_of(make(&any)->words);
	marker_begin(marker);
	ck_assert(marker_shade(marker, words[0]));
	ck_assert(!marker_shade(marker, words[0] + 9));
	ck_assert_uint_eq(marker_shade_all(marker, words, 300, false), 299);
	ck_assert_uint_eq(marker_shade_all(marker, words, 300, false), 0);
	while (!marker_drain(marker))
		;
	ck_assert_uint_eq(marker_counts(marker)->objects, 300);
	ck_assert(!marker_shade(marker, words[7]));
}
END_TEST

/* Between two portions the collector sees to other things: it must not wait longer for it because objects have many words. */
START_TEST(a_portion_ends_after_so_many_words)
{
	struct sort any = sort_builtin(HEAPD_TYPE_ANY, 32768);
	unsigned portions = 0;

	marker_begin(marker);
	for (size_t i = 0; i < 64; i++)
		ck_assert(marker_shade(marker, word_of(make(&any)->words)));
	do
		portions++;
	while (!marker_drain(marker));
	ck_assert_uint_eq(marker_counts(marker)->objects, 64);
	ck_assert_msg(portions >= 4, "%u portions for 64 objects of 4096 words", portions);
}
END_TEST

START_TEST(what_is_marked_already_is_not_followed)
{
	struct sort any = sort_builtin(HEAPD_TYPE_ANY, 32);
	uint64_t *a = make(&any)->words, *b = make(&any)->words, *c = make(&any)->words;
	struct slot s;

	a[0] = word_of(b);
	b[0] = word_of(c);
	ck_assert(slot_find(&t.heap->t, word_of(b), &s));
	t.heap->marks->mark[s.slab] |= 1ull << s.bit;
	marker_begin(marker);
	marker_shade(marker, word_of(a));
	while (!marker_drain(marker))
		;
	ck_assert(is_marked(a) && is_marked(b) && !is_marked(c));
	ck_assert_uint_eq(marker_counts(marker)->objects, 1);
}
END_TEST

START_TEST(a_cycle_that_is_given_up_leaves_nothing_grey)
{
	struct sort any = sort_builtin(HEAPD_TYPE_ANY, 64), large = sort_builtin(HEAPD_TYPE_ANY, 65536);
	uint64_t *from = make_large(&large, 65536)->words;
	uint64_t *kept = make(&any)->words;
	uint64_t words[1000];

	marker_anew(1, MARKER_QUEUE_MIN);
	kept[1] = word_of(from);
	for (size_t i = 0; i < 1000; i++) {
		uint64_t *o = make(&any)->words;

		words[i] = word_of(o);
		from[i] = word_of(o);
		o[0] = word_of(make(&any)->words);
	}
	marker_begin(marker);
	marker_shade(marker, word_of(from));
	marker_shade_all(marker, words, 1000, false); /* some of them in the pool */
	marks_clear();
	marker_begin(marker);
	while (!marker_drain(marker))
		;
	ck_assert_uint_eq(marked_bits(), 0);
	ck_assert_uint_eq(mark_from(kept)->objects, 2002); /* and what was in the pool gets there again */
}
END_TEST

START_TEST(classes_that_come_later_are_known)
{
	struct sort first = sort_fixed("first", 32, 1), second;

	check_words(make(&first));
	second = sort_fixed("second", 32, 2);
	check_words(make(&second));
}
END_TEST

START_TEST(foreign_words_of_a_map_are_counted_by_field)
{
	struct sort pair = sort_fixed("pair", 32, 0x5), flex = sort_flex("flex", 16, 1, true, 200),
		    array = sort_array("array", 16, 2, 800), any = sort_builtin(HEAPD_TYPE_ANY, 64);
	uint64_t *all = make(&any)->words, *p = make(&pair)->words, *f = make(&flex)->words,
		 *a = make(&array)->words;

	all[0] = word_of(p);
	all[1] = word_of(f);
	all[2] = word_of(a);
	all[3] = 77;
	p[0] = word_of(&pair);
	p[1] = 99;                 /* no pointer */
	p[2] = t.heap->t.base - 8; /* foreign */
	p[3] = 99;
	f[0] = 5;
	f[4] = 6;
	f[9] = UINT64_MAX;
	a[1] = 7;
	a[2] = 8; /* no pointer */
	a[91] = 9;
	ck_assert_uint_eq(mark_from(all)->foreign, 2 + 3 + 2);
	ck_assert_uint_eq(marker_foreign(marker, pair.type, 0), 1);
	ck_assert_uint_eq(marker_foreign(marker, pair.type, 1), 0);
	ck_assert_uint_eq(marker_foreign(marker, pair.type, 2), 1);
	ck_assert_uint_eq(marker_foreign(marker, flex.type, 0), 1);
	ck_assert_uint_eq(marker_foreign(marker, flex.type, 2), 2);
	ck_assert_uint_eq(marker_foreign(marker, array.type, 1), 2);
	ck_assert_uint_eq(marker_foreign(marker, array.type, 7777), 0);
	ck_assert_uint_eq(marker_foreign(marker, UINT32_MAX, 0), 0);
	p[0] = p[2] = 0;
	ck_assert_uint_eq(mark_from(all)->foreign, 3 + 2);
	ck_assert_uint_eq(marker_foreign(marker, pair.type, 0), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("marker");
	TCase *words = tcase_create("words");

	tcase_add_checked_fixture(words, setup, teardown);
	tcase_set_timeout(words, 60);
	tcase_add_test(words, a_map_names_exactly_the_words_that_are_followed);
	tcase_add_test(words, objects_without_a_type_are_followed_in_all_words_or_none);
	tcase_add_test(words, a_map_repeats_in_an_array_and_not_in_what_is_left_at_its_end);
	tcase_add_test(words, a_map_of_more_than_a_word_is_followed_and_repeats);
	tcase_add_test(words, a_flexible_array_is_of_pointers_or_of_bytes);
	tcase_add_test(words, large_objects_are_followed_as_their_sort_says);
	tcase_add_test(words, a_type_of_odd_size_is_followed_in_every_word_of_an_array);
	tcase_add_test(words, any_byte_of_an_object_leads_to_it);
	tcase_add_test(words, each_word_of_each_class_leads_to_its_slot);
	tcase_add_test(words, words_that_lead_nowhere_mark_nothing);
	tcase_add_test(words, a_word_from_a_stack_stands_for_the_byte_before_it_too);
	tcase_add_test(words, shading_says_what_was_white);
	tcase_add_test(words, a_portion_ends_after_so_many_words);
	tcase_add_test(words, what_is_marked_already_is_not_followed);
	tcase_add_test(words, a_cycle_that_is_given_up_leaves_nothing_grey);
	tcase_add_test(words, classes_that_come_later_are_known);
	tcase_add_test(words, foreign_words_of_a_map_are_counted_by_field);
	suite_add_tcase(suite, words);
	return testheap_run(suite);
}
