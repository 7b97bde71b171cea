/* SPDX-License-Identifier: MIT */
/*
 * The marker, against a naive one: here is a list of all objects with what each word of them is, and pointers are
 * followed by looking through that list. Both must mark the same objects, and no other bit.
 */
#ifndef HEAPD_TESTS_NAIVEMARKER_H
#define HEAPD_TESTS_NAIVEMARKER_H

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

static inline void setup(void)
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

static inline void teardown(void)
{
	marker_deinit(marker);
	munmap(objects, OBJECTS_MAX * sizeof(*objects));
	spans_deinit(&spans);
	pages_deinit(&pages);
	testheap_deinit(&t);
}

static inline void marker_anew(unsigned threads, unsigned queue)
{
	marker_deinit(marker);
	ck_assert_int_eq(marker_init_queue(&marker, t.heap, threads, queue), 0);
}

static inline uint64_t *at_offset(uint64_t offset)
{
	return (uint64_t *)(uintptr_t)(t.heap->t.base + offset); /* NOLINT(performance-no-int-to-ptr) */
}

static inline uint64_t word_of(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

static inline struct sort sort_builtin(uint32_t type, uint64_t bytes)
{
	uint32_t sizeclass = bytes > HEAPD_SMALL_MAX ? HEAPD_SIZECLASS_LARGE : heapd_sizeclass_of(bytes);

	return (struct sort){
		.class = t.heap->t.types[type].array_class[sizeclass],
		.type = type,
		.every = type == HEAPD_TYPE_ANY,
	};
}

static inline uint32_t define(const char *name, uint32_t size, uint64_t map, uint32_t flags, uint32_t flex_at,
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

static inline uint32_t class_of(uint32_t type, enum heapd_kind kind, uint64_t bytes)
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

static inline struct sort sort_fixed(const char *name, uint32_t size, uint64_t map)
{
	uint32_t type = define(name, size, map, 0, 0, 0);

	return (struct sort){ .class = class_of(type, HEAPD_KIND_FIXED, size), .type = type, .map = map };
}

static inline struct sort sort_array(const char *name, uint32_t size, uint64_t map, uint64_t bytes)
{
	uint32_t type = define(name, size, map, 0, 0, 0);

	return (struct sort){
		.class = class_of(type, HEAPD_KIND_ARRAY, bytes), .type = type, .map = map, .period = size / 8
	};
}

static inline struct sort sort_flex(const char *name, uint32_t size, uint64_t map, bool pointers,
				    uint64_t bytes)
{
	uint32_t type = define(name, size, map, HEAPD_TYPE_FLEX | (pointers ? HEAPD_TYPE_FLEX_PTRS : 0), size,
			       pointers ? 8 : 1);

	return (struct sort){ .class = class_of(type, HEAPD_KIND_FLEX, bytes),
			      .type = type,
			      .map = map,
			      .flex = pointers ? size / 8 : 0 };
}

static inline struct object *object_note(const struct sort *sort, uint64_t offset, uint64_t bytes)
{
	struct object *o = &objects[nobjects++];

	ck_assert_uint_lt(nobjects, OBJECTS_MAX);
	*o = (struct object){ .words = at_offset(offset), .n = bytes / 8, .sort = sort };
	sorted = false;
	return o;
}

/* The sort must outlive the object. */
static inline struct object *make_large(const struct sort *sort, uint64_t bytes)
{
	uint32_t first;
	bool zeroed;

	ck_assert_int_eq(spans_cut_large(&spans, sort->class, bytes, 8, &first, &zeroed), 0);
	return object_note(sort, (uint64_t)first << HEAPD_PAGE_SHIFT, t.heap->t.spans[first].elemsize);
}

static inline struct object *make(const struct sort *sort)
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

static inline bool is_pointer(const struct object *o, uint64_t i)
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

static inline int by_address(const void *a, const void *b)
{
	const struct object *x = a, *y = b;

	return x->words < y->words ? -1 : x->words > y->words;
}

static inline struct object *object_at(uint64_t word)
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

static inline void naive_mark(const uint64_t *words, uint64_t n)
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

static inline bool is_marked(const void *p)
{
	struct slot s;

	ck_assert(slot_find(&t.heap->t, word_of(p), &s));
	return t.heap->marks->mark[s.slab] >> s.bit & 1;
}

static inline uint64_t marked_bits(void)
{
	uint64_t bits = 0;

	for (uint64_t i = 0; i < spans.numbers.high * HEAPD_SLAB_UNIT && i < t.heap->geometry.slabs; i++)
		bits += (uint64_t)__builtin_popcountll(t.heap->marks->mark[i]);
	return bits;
}

static inline void marks_clear(void)
{
	memset(t.heap->marks->mark, 0, spans.numbers.high * HEAPD_SLAB_UNIT * 8);
}

/* A cycle of the marker alone. */
static inline const struct marker_counts *mark(const uint64_t *words, uint64_t n)
{
	marks_clear();
	marker_begin(marker);
	marker_shade_all(marker, words, n, false);
	while (!marker_drain(marker))
		;
	return marker_counts(marker);
}

static inline const struct marker_counts *mark_from(const void *p)
{
	uint64_t word = word_of(p);

	return mark(&word, 1);
}

/* Both markers from the same words: the same set. */
static inline void compare(const uint64_t *words, uint64_t n)
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

#endif
