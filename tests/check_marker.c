/* SPDX-License-Identifier: MIT */
/*
 * The marker, against a naive one: this file keeps a list of all objects with what each word of them is, and
 * follows pointers by looking through that list. Both must mark the same objects, and no other bit.
 */
#include "daemon/marker.h"
#include "daemon/marks.h"
#include "daemon/slots.h"
#include "testheap.h"

#define OBJECTS_MAX 4000000u

/* What the words of an object are, told again and plainly. */
struct sort {
	uint32_t class;
	uint32_t type;
	uint64_t map, more; /* of the first 64 words, and of those after them */
	uint64_t period;    /* words; 0: the map stands once */
	uint64_t flex;      /* from this word on all are pointers; 0: none */
	bool every;
};

struct object {
	uint64_t *words;
	uint64_t n;
	const struct sort *sort;
	bool marked;
};

static struct testheap t;
static struct ledger ledger;
static struct pages pages;
static struct spans spans;
static struct marker *marker;

static struct object *objects; /* by address, once sorted */
static uint64_t nobjects;
static bool sorted;
static struct {
	uint32_t first, next; /* of the span that is being used up */
} cursors[HEAPD_CLASS_MAX];

static void setup(void)
{
	testheap_init(&t, 2048 * MIB, 2048 * MIB);
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	ck_assert_int_eq(pages_init(&pages, t.heap), 0);
	ck_assert_int_eq(spans_init(&spans, t.heap, &ledger, &pages), 0);
	ck_assert_int_eq(marker_init(&marker, t.heap, 1), 0);
	objects = testheap_map(OBJECTS_MAX * sizeof(*objects));
	nobjects = 0;
	memset(cursors, 0, sizeof(cursors));
}

static void teardown(void)
{
	marker_deinit(marker);
	munmap(objects, OBJECTS_MAX * sizeof(*objects));
	spans_deinit(&spans);
	pages_deinit(&pages);
	testheap_deinit(&t);
}

static void marker_anew(unsigned threads, unsigned queue)
{
	marker_deinit(marker);
	ck_assert_int_eq(marker_init_queue(&marker, t.heap, threads, queue), 0);
}

static uint64_t *at_offset(uint64_t offset)
{
	return (uint64_t *)(uintptr_t)(t.heap->t.base + offset); /* NOLINT(performance-no-int-to-ptr) */
}

static uint64_t word_of(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

static struct sort sort_builtin(uint32_t type, uint64_t bytes)
{
	uint32_t sizeclass = bytes > HEAPD_SMALL_MAX ? HEAPD_SIZECLASS_LARGE : heapd_sizeclass_of(bytes);

	return (struct sort){
		.class = t.heap->t.types[type].array_class[sizeclass],
		.type = type,
		.every = type == HEAPD_TYPE_ANY,
	};
}

static uint32_t define(const char *name, uint32_t size, uint64_t map, uint32_t flags, uint32_t flex_at,
		       uint32_t flex_elem)
{
	struct heapd_type_request request = {
		.size = size,
		.align = 8,
		.flags = flags,
		.flex_at = flex_at,
		.flex_elem = flex_elem,
		.map_bits = map ? 64 - (uint32_t)__builtin_clzll(map) : 0,
	};
	struct heapd_type_reply reply;
	struct refusal why;

	strcpy(request.name, name);
	request.map[0] = map;
	ck_assert_int_eq(types_define(t.heap, &request, true, &reply, &why), 0);
	return reply.type;
}

static uint32_t class_of(uint32_t type, enum heapd_kind kind, uint64_t bytes)
{
	struct heapd_class_request request = {
		.type = type,
		.kind = kind,
		.sizeclass = bytes > HEAPD_SMALL_MAX ? HEAPD_SIZECLASS_LARGE : heapd_sizeclass_of(bytes),
	};
	struct refusal why;
	uint32_t class;

	ck_assert_int_eq(types_class(t.heap, &request, true, &class, &why), 0);
	return class;
}

static struct sort sort_fixed(const char *name, uint32_t size, uint64_t map)
{
	uint32_t type = define(name, size, map, 0, 0, 0);

	return (struct sort){ .class = class_of(type, HEAPD_KIND_FIXED, size), .type = type, .map = map };
}

static struct sort sort_array(const char *name, uint32_t size, uint64_t map, uint64_t bytes)
{
	uint32_t type = define(name, size, map, 0, 0, 0);

	return (struct sort){
		.class = class_of(type, HEAPD_KIND_ARRAY, bytes), .type = type, .map = map, .period = size / 8
	};
}

static struct sort sort_flex(const char *name, uint32_t size, uint64_t map, bool pointers, uint64_t bytes)
{
	uint32_t type = define(name, size, map, HEAPD_TYPE_FLEX | (pointers ? HEAPD_TYPE_FLEX_PTRS : 0), size,
			       pointers ? 8 : 1);

	return (struct sort){ .class = class_of(type, HEAPD_KIND_FLEX, bytes),
			      .type = type,
			      .map = map,
			      .flex = pointers ? size / 8 : 0 };
}

static struct object *object_note(const struct sort *sort, uint64_t offset, uint64_t bytes)
{
	struct object *o = &objects[nobjects++];

	ck_assert_uint_lt(nobjects, OBJECTS_MAX);
	*o = (struct object){ .words = at_offset(offset), .n = bytes / 8, .sort = sort };
	sorted = false;
	return o;
}

/* The sort must outlive the object. */
static struct object *make_large(const struct sort *sort, uint64_t bytes)
{
	uint32_t first;
	bool zeroed;

	ck_assert_int_eq(spans_cut_large(&spans, sort->class, bytes, 8, &first, &zeroed), 0);
	return object_note(sort, (uint64_t)first << HEAPD_PAGE_SHIFT, t.heap->t.spans[first].elemsize);
}

static struct object *make(const struct sort *sort)
{
	uint32_t class = sort->class, first = cursors[class].first;

	if (!cursors[class].next || cursors[class].next == t.heap->t.spans[first].nslots) {
		ck_assert_int_eq(spans_cut(&spans, class, &first), 0);
		cursors[class].first = first;
		cursors[class].next = 0;
		/* A span cut while there are marks is black: these tests cut before they mark. */
		memset(&t.heap->marks->mark[t.heap->t.spans[first].slab0], 0,
		       heapd_span_slabs(&t.heap->t.spans[first]) * 8ul);
	}
	return object_note(sort,
			   ((uint64_t)first << HEAPD_PAGE_SHIFT) +
				   cursors[class].next++ * t.heap->t.spans[first].elemsize,
			   t.heap->t.spans[first].elemsize);
}

/* The naive marker. */

static bool is_pointer(const struct object *o, uint64_t i)
{
	const struct sort *s = o->sort;

	if (s->every || (s->flex && i >= s->flex))
		return true;
	if (s->period) {
		if (i >= o->n / s->period * s->period)
			return false;
		i %= s->period;
	}
	return i < 128 && (i < 64 ? s->map : s->more) >> i % 64 & 1;
}

static int by_address(const void *a, const void *b)
{
	const struct object *x = a, *y = b;

	return x->words < y->words ? -1 : x->words > y->words;
}

static struct object *object_at(uint64_t word)
{
	uint64_t low = 0, high = nobjects;

	while (low < high) {
		uint64_t middle = (low + high) / 2;

		if (word_of(objects[middle].words + objects[middle].n) <= word)
			low = middle + 1;
		else
			high = middle;
	}
	return low < nobjects && word_of(objects[low].words) <= word ? &objects[low] : NULL;
}

static void naive_mark(const uint64_t *words, uint64_t n)
{
	struct object **stack = malloc((nobjects + 1) * sizeof(*stack));
	uint64_t depth = 0;

	if (!sorted)
		qsort(objects, nobjects, sizeof(*objects), by_address);
	sorted = true;
	for (uint64_t i = 0; i < nobjects; i++)
		objects[i].marked = false;
	for (uint64_t r = 0; r < n; r++) {
		struct object *o = object_at(words[r]);

		if (!o || o->marked)
			continue;
		o->marked = true;
		for (stack[depth++] = o; depth;) {
			o = stack[--depth];
			for (uint64_t i = 0; i < o->n; i++) {
				struct object *to = is_pointer(o, i) ? object_at(o->words[i]) : NULL;

				if (to && !to->marked) {
					to->marked = true;
					stack[depth++] = to;
				}
			}
		}
	}
	free(stack);
}

static bool is_marked(const void *p)
{
	struct slot s;

	ck_assert(slot_find(&t.heap->t, word_of(p), &s));
	return t.heap->marks->mark[s.slab] >> s.bit & 1;
}

static uint64_t marked_bits(void)
{
	uint64_t bits = 0;

	for (uint64_t i = 0; i < spans.numbers.high * HEAPD_SLAB_UNIT && i < t.heap->geometry.slabs; i++)
		bits += (uint64_t)__builtin_popcountll(t.heap->marks->mark[i]);
	return bits;
}

static void marks_clear(void)
{
	memset(t.heap->marks->mark, 0, spans.numbers.high * HEAPD_SLAB_UNIT * 8);
}

/* A cycle of the marker alone. */
static const struct marker_counts *mark(const uint64_t *words, uint64_t n)
{
	marks_clear();
	marker_begin(marker);
	marker_shade_all(marker, words, n, false);
	while (!marker_drain(marker))
		;
	return marker_counts(marker);
}

static const struct marker_counts *mark_from(const void *p)
{
	uint64_t word = word_of(p);

	return mark(&word, 1);
}

/* Both markers from the same words: the same set. */
static void compare(const uint64_t *words, uint64_t n)
{
	const struct marker_counts *counts = mark(words, n);
	uint64_t marked = 0, bytes = 0, looked = 0;

	naive_mark(words, n);
	for (uint64_t i = 0; i < nobjects; i++) {
		ck_assert_msg(objects[i].marked == is_marked(objects[i].words),
			      "object %llu of class %u: %d, the naive marker says %d", (unsigned long long)i,
			      objects[i].sort->class, is_marked(objects[i].words), objects[i].marked);
		if (!objects[i].marked)
			continue;
		marked++;
		bytes += objects[i].n * 8;
		for (uint64_t w = 0; w < objects[i].n; w++)
			looked += is_pointer(&objects[i], w);
	}
	ck_assert_uint_eq(marked_bits(), marked);
	ck_assert_uint_eq(counts->objects, marked);
	ck_assert_uint_eq(counts->bytes, bytes);
	ck_assert_uint_eq(counts->words, looked);
}

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
			ck_assert_uint_eq(s.start, start + index * span->elemsize);
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

int main(void)
{
	Suite *suite = suite_create("marker");
	TCase *words = tcase_create("words"), *whole = tcase_create("whole");

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
	tcase_add_test(words, what_is_marked_already_is_not_followed);
	tcase_add_test(words, a_cycle_that_is_given_up_leaves_nothing_grey);
	tcase_add_test(words, classes_that_come_later_are_known);
	tcase_add_test(words, foreign_words_of_a_map_are_counted_by_field);
	suite_add_tcase(suite, words);
	tcase_add_checked_fixture(whole, setup, teardown);
	tcase_set_timeout(whole, 120);
	tcase_add_test(whole, a_list_of_ten_million_and_a_ring);
	tcase_add_test(whole, a_wide_array_needs_no_more_room_than_a_narrow_one);
	tcase_add_test(whole, random_graphs_are_marked_as_by_the_naive_marker);
	tcase_add_test(whole, a_queue_that_overflows_loses_nothing);
	tcase_add_test(whole, two_threads_mark_what_one_does);
	tcase_add_test(whole, many_threads_with_small_queues_mark_what_one_does);
	tcase_add_test(whole, many_short_drains_come_to_their_end);
	tcase_add_test(whole, a_drain_does_not_end_while_another_thread_has_work);
	tcase_add_test(whole, garbage_is_harmless);
	suite_add_tcase(suite, whole);
	return testheap_run(suite);
}
