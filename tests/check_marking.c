/* SPDX-License-Identifier: MIT */
/* Whole graphs, drawn by a seed or long, wide and full of garbage, by one thread and by many: marked as by the naive marker. */
#include "naivemarker.h"

START_TEST(a_list_of_ten_million_and_a_ring)
{
	struct sort node = sort_fixed("node", 16, 1);
	uint64_t *first = NULL, *last = NULL;
	uint32_t span;

	for (uint32_t n = 0; n < 10000000;) {
		ck_assert_int_eq(spans_cut(&spans, node.class, &span), 0);
		for (uint32_t i = 0; i < t.heap->t.spans[span].nslots; i++, n++) {
			uint64_t *o = at_offset(((uint64_t)span << HEAPD_PAGE_SHIFT) + 16ul * i);

			if (last)
				last[0] = word_of(o);
			else
				first = o;
			last = o;
		}
	}
	last[0] = word_of(first);
	ck_assert_uint_eq(mark_from(first)->objects, marked_bits());
	ck_assert_uint_ge(marked_bits(), 10000000);
	ck_assert_uint_eq(marker_counts(marker)->overflows, 0);
}
END_TEST

START_TEST(a_wide_array_needs_no_more_room_than_a_narrow_one)
{
	struct sort any = sort_builtin(HEAPD_TYPE_ANY, 64ul << 20), leaf = sort_builtin(HEAPD_TYPE_LEAF, 16),
		    node = sort_fixed("node", 32, 1);
	uint64_t n = (64ul << 20) / 8, *array = make_large(&any, 64ul << 20)->words;
	uint64_t *common = make(&leaf)->words;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t *o = i % 8 ? common : make(&node)->words;

		if (o != common)
			o[0] = word_of(make(&leaf)->words);
		array[i] = word_of(o);
	}
	ck_assert_uint_eq(mark_from(array)->objects, 2 + n / 4);
	ck_assert_uint_eq(marked_bits(), 2 + n / 4);
}
END_TEST

/* A heap of all sorts, and words in it drawn by `draw`. */
static struct sort sorts[12];

static void sorts_make(void)
{
	size_t n = 0;

	sorts[n++] = sort_builtin(HEAPD_TYPE_ANY, 16);
	sorts[n++] = sort_builtin(HEAPD_TYPE_ANY, 48);
	sorts[n++] = sort_builtin(HEAPD_TYPE_ANY, 640);
	sorts[n++] = sort_builtin(HEAPD_TYPE_ANY, 7168);
	sorts[n++] = sort_builtin(HEAPD_TYPE_LEAF, 64);
	sorts[n++] = sort_fixed("mixed-two", 64, 0x3);
	sorts[n++] = sort_fixed("mixed-odd", 72, 0x109);
	sorts[n++] = sort_array("mixed-array", 24, 1, 1000);
	sorts[n++] = sort_flex("mixed-flex", 16, 1, true, 200);
	sorts[n++] = sort_flex("mixed-bytes", 16, 1, false, 200);
	sorts[n++] = sort_builtin(HEAPD_TYPE_ANY, 200000);
	sorts[n++] = sort_array("mixed-large", 40, 4, 200000);
	ck_assert_uint_eq(n, sizeof(sorts) / sizeof(sorts[0]));
}

static void objects_make(uint64_t *seed, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		make(&sorts[testheap_random(seed) % 10]);
	for (unsigned i = 0; i < 6; i++)
		make_large(&sorts[10 + i % 2], 40000 + testheap_random(seed) % 300000);
}

/* A word that is in one of `share` cases an address inside an object. */
static uint64_t word_draw(uint64_t *seed, unsigned share)
{
	const struct object *o = &objects[testheap_random(seed) % nobjects];

	if (testheap_random(seed) % share)
		return testheap_random(seed) % 2 ? 0 : testheap_random(seed);
	return word_of(o->words) + testheap_random(seed) % (o->n * 8);
}

static void objects_fill(uint64_t *seed, unsigned share)
{
	for (uint64_t i = 0; i < nobjects; i++)
		for (uint64_t w = 0; w < objects[i].n; w++)
			objects[i].words[w] = word_draw(seed, share);
}

/* Objects that found no room in a queue. */
static uint64_t compare_random(unsigned threads, unsigned queue, unsigned rounds)
{
	uint64_t seed = testheap_seed(), roots[20], overflows = 0;

	marker_anew(threads, queue);
	sorts_make();
	objects_make(&seed, 3000);
	for (unsigned r = 0; r < rounds; r++) {
		/* From a few objects each to most of them. */
		objects_fill(&seed, r % 4 ? 300u << r % 4 : 4);
		for (size_t i = 0; i < 20; i++)
			roots[i] = word_draw(&seed, 2);
		compare(roots, 1 + r % 20);
		overflows += marker_counts(marker)->overflows;
	}
	return overflows;
}

START_TEST(random_graphs_are_marked_as_by_the_naive_marker)
{
	compare_random(1, MARKER_QUEUE, 12);
}
END_TEST

START_TEST(a_queue_that_overflows_loses_nothing)
{
	ck_assert_uint_gt(compare_random(1, MARKER_QUEUE_MIN, 12), 0);
}
END_TEST

START_TEST(two_threads_mark_what_one_does)
{
	compare_random(2, MARKER_QUEUE, 12);
}
END_TEST

START_TEST(many_threads_with_small_queues_mark_what_one_does)
{
	compare_random(5, MARKER_QUEUE_MIN, 12);
}
END_TEST

/* Many drains of little, and of one object after the other: the end is seen each time. */
START_TEST(many_short_drains_come_to_their_end)
{
	struct sort two = sort_fixed("two", 64, 0x3);
	uint64_t seed = testheap_seed();

	marker_anew(3, MARKER_QUEUE_MIN);
	for (unsigned i = 0; i < 20000; i++)
		make(&two);
	for (uint64_t i = 0; i < nobjects; i++)
		for (unsigned w = 0; w < 2; w++)
			objects[i].words[w] = word_of(objects[testheap_random(&seed) % nobjects].words);
	for (unsigned r = 0; r < 300; r++) {
		uint64_t before, n;

		n = mark_from(objects[testheap_random(&seed) % nobjects].words)->objects;
		before = marked_bits();
		ck_assert_uint_eq(n, before);
		for (unsigned i = 0; i < 50; i++) {
			marker_shade(marker, word_of(objects[testheap_random(&seed) % nobjects].words));
			while (!marker_drain(marker))
				;
			ck_assert_uint_ge(marker_counts(marker)->objects, n);
			n = marker_counts(marker)->objects;
		}
		ck_assert_uint_eq(n, marked_bits());
	}
}
END_TEST

/*
 * Given up after a portion, when some objects are left: in the pool, on their way there, or on their way from it. How
 * many there are left grows from graph to graph.
 */
START_TEST(what_a_cycle_that_is_given_up_had_in_hand_is_marked_by_the_next)
{
	struct sort two = sort_fixed("two", 64, 0x3);
	uint64_t seed = testheap_seed(), n;
	unsigned given_up = 0;

	marker_anew(1, MARKER_QUEUE_MIN);
	for (unsigned i = 0; i < 7000; i++)
		make(&two);
	for (uint64_t range = 4000; range < nobjects; range += 10) {
		for (uint64_t i = 0; i < range; i++)
			for (unsigned w = 0; w < 2; w++)
				objects[i].words[w] = word_of(objects[testheap_random(&seed) % range].words);
		n = mark_from(objects[0].words)->objects;
		marks_clear();
		marker_begin(marker);
		marker_shade(marker, word_of(objects[0].words));
		given_up += !marker_drain(marker);
		marker_give_up(marker);
		ck_assert_uint_eq(mark_from(objects[0].words)->objects, n);
	}
	ck_assert_uint_gt(given_up, 10);
}
END_TEST

/* The second piece of an array leads to a long list. Whoever takes it, the drain ends with the list. */
START_TEST(a_drain_does_not_end_while_another_thread_has_work)
{
	struct sort any = sort_builtin(HEAPD_TYPE_ANY, 65536), node = sort_fixed("node", 64, 1);
	uint64_t *array = make_large(&any, 65536)->words, *last = make(&node)->words;

	array[4096] = word_of(last);
	for (unsigned i = 0; i < 300000; i++) {
		uint64_t *next = make(&node)->words;

		last[0] = word_of(next);
		last = next;
	}
	marker_anew(2, MARKER_QUEUE);
	for (unsigned i = 0; i < 20; i++) {
		usleep(1000); /* the other one waits by now */
		ck_assert_uint_eq(mark_from(array)->objects, nobjects);
		ck_assert_uint_eq(marked_bits(), nobjects);
	}
}
END_TEST

/* Nothing but random words, in objects and as roots; every second one is somewhere in the heap. */
START_TEST(garbage_is_harmless)
{
	uint64_t seed = testheap_seed(), words[1000];

	sorts_make();
	objects_make(&seed, 3000);
	for (size_t i = 0; i < 10; i++) /* no slot without an object: the marker takes each for one */
		while (cursors[sorts[i].class].next < t.heap->t.spans[cursors[sorts[i].class].first].nslots)
			make(&sorts[i]);
	for (uint64_t i = 0; i < nobjects; i++)
		for (uint64_t w = 0; w < objects[i].n; w++)
			objects[i].words[w] = testheap_random(&seed) % 2
						      ? testheap_random(&seed)
						      : t.heap->t.base +
								testheap_random(&seed) % t.heap->t.size;
	for (size_t i = 0; i < 1000; i++)
		words[i] = t.heap->t.base + testheap_random(&seed) % t.heap->t.size;
	compare(words, 1000);
	compare(objects[0].words, 1);
}
END_TEST

/* What a walk over objects of nothing but random words finds in those that are reached: counted here, by the list alone. */
struct found {
	uint64_t objects, words; /* reached, and words of them that a map or their sort calls pointers */
	uint64_t inside;         /* of these, how many are in the heap's range */
	uint64_t foreign;        /* ... and how many are not, nor NULL, in objects with a map */
};

static struct found count_found(void)
{
	struct found f = { 0 };

	for (uint64_t i = 0; i < nobjects; i++) {
		const struct object *o = &objects[i];

		f.objects += o->marked;
		for (uint64_t w = 0; o->marked && w < o->n; w++) {
			bool inside = o->words[w] - t.heap->t.base < t.heap->t.size;

			if (!is_pointer(o, w))
				continue;
			f.words++;
			f.inside += inside;
			f.foreign += o->sort->type != HEAPD_TYPE_ANY && o->words[w] && !inside;
		}
	}
	return f;
}

static uint64_t bytes_mapped(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	uint64_t size = 0;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%lu", &size), 1);
	fclose(file);
	return size * 4096;
}

/* One in `share` words is an address in the heap's range, of a slot or not; all others are random in all of their bits. */
static void words_fill(uint64_t *seed, unsigned share)
{
	for (uint64_t i = 0; i < nobjects; i++)
		for (uint64_t w = 0; w < objects[i].n; w++)
			objects[i].words[w] = share && testheap_random(seed) % share == 0
						      ? t.heap->t.base +
								testheap_random(seed) % t.heap->t.size
						      : testheap_random(seed);
}

/* What is marked from these words, and how far that went, is what the list says; and no memory is asked for as it goes on. */
static struct found count_marking(const uint64_t *roots, uint64_t n, bool overflowing)
{
	struct marker_counts counts;
	struct found f;
	uint64_t before;

	mark(roots, n); /* so that there is a table for what is foreign in each type */
	before = bytes_mapped();
	counts = *mark(roots, n);

#ifdef HEAPD_TSAN /* which maps memory of its own as threads go on */
	(void)before;
#else
	ck_assert_uint_eq(bytes_mapped(), before);
#endif
	ck_assert_uint_eq(counts.overflows > 0, overflowing);
	compare(roots, n);
	f = count_found();
	ck_assert_uint_eq(counts.objects, f.objects);
	ck_assert_uint_eq(counts.words, f.words);
	ck_assert_uint_eq(counts.foreign, f.foreign);
	return f;
}

/*
 * A heap full of words that are random in all 64 bits: none of them leads anywhere, and each that a map lists is counted as foreign.
 * With every fourth in the heap's range nearly all is reached. Either way each object is followed once, each listed word looked at
 * once, and what finds no room in the shortest queue there may be waits in words that are there already.
 */
static void mark_random_words(unsigned threads)
{
	uint64_t seed = testheap_seed(), roots[100];
	struct found f;

	marker_anew(threads, MARKER_QUEUE_MIN);
	sorts_make();
	objects_make(&seed, 20000);
	for (size_t i = 0; i < 10; i++)
		while (cursors[sorts[i].class].next < t.heap->t.spans[cursors[sorts[i].class].first].nslots)
			make(&sorts[i]);
	words_fill(&seed, 0);
	for (size_t i = 0; i < 100; i++)
		roots[i] = word_of(objects[i * (nobjects / 100)].words);
	f = count_marking(roots, 100, false);
	ck_assert_uint_eq(f.objects, 100);
	ck_assert_uint_eq(f.inside, 0);
	ck_assert_uint_gt(f.foreign, 0);
	words_fill(&seed, 4);
	for (uint64_t i = 0; i < nobjects; i++) /* the heap's range is large, and little of it objects */
		for (uint64_t w = 0; w < objects[i].n; w += 4)
			objects[i].words[w] = word_of(objects[testheap_random(&seed) % nobjects].words) +
					      w % 3;
	f = count_marking(roots, 100, true);
	ck_assert_uint_gt(f.objects, nobjects / 2);
	ck_assert_uint_gt(f.inside, 0);
	ck_assert_uint_gt(f.foreign, f.objects);
	ck_assert_uint_le(marker_counts(marker)->overflows, f.objects);
}

START_TEST(random_words_are_counted_and_marking_them_is_bounded)
{
	mark_random_words(1);
}
END_TEST

START_TEST(random_words_are_counted_and_bounded_by_three_threads)
{
	mark_random_words(3);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("marking");
	TCase *whole = tcase_create("whole");

	tcase_add_checked_fixture(whole, setup, teardown);
	tcase_set_timeout(whole, 120);
	tcase_add_test(whole, a_list_of_ten_million_and_a_ring);
	tcase_add_test(whole, a_wide_array_needs_no_more_room_than_a_narrow_one);
	tcase_add_test(whole, random_graphs_are_marked_as_by_the_naive_marker);
	tcase_add_test(whole, a_queue_that_overflows_loses_nothing);
	tcase_add_test(whole, two_threads_mark_what_one_does);
	tcase_add_test(whole, many_threads_with_small_queues_mark_what_one_does);
	tcase_add_test(whole, many_short_drains_come_to_their_end);
	tcase_add_test(whole, what_a_cycle_that_is_given_up_had_in_hand_is_marked_by_the_next);
	tcase_add_test(whole, a_drain_does_not_end_while_another_thread_has_work);
	tcase_add_test(whole, garbage_is_harmless);
	tcase_add_test(whole, random_words_are_counted_and_marking_them_is_bounded);
	tcase_add_test(whole, random_words_are_counted_and_bounded_by_three_threads);
	suite_add_tcase(suite, whole);
	return testheap_run(suite);
}
