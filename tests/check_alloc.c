/* SPDX-License-Identifier: MIT */
/*
 * Allocation against a real daemon: every size class of every kind of object, by both paths. What is
 * handed out is zero, aligned, as large as asked for, and overlaps with nothing that is alive.
 */
#include <stdio.h>
#include <stdlib.h>

#include "heapd/sizeclass.h"

#include "objects.h"
#include "suite.h"

#define LIVE_MAX   200u       /* objects alive at a time: more than three slabs of 64 */
#define LIVE_BYTES (1u << 20) /* and no more than that together, but four at least */

static struct fixture fixture;
static heapd_heap *heap;

static void setup(void)
{
	fixture_start(&fixture, NULL);
}

static void teardown(void)
{
	fixture_stop(&fixture);
}

static size_t live_of(size_t bytes)
{
	size_t n = LIVE_BYTES / (bytes ? bytes : 1);

	return n > LIVE_MAX ? LIVE_MAX : n < 4 ? 4 : n;
}

/* What holds for any new object of `bytes`. */
static void ck_object(void *p, size_t bytes, size_t align)
{
	ck_must(p != NULL, "%zu bytes: %s", bytes, heapd_error());
	ck_must((uintptr_t)p % align == 0, "%zu bytes at %p, not on a boundary of %zu", bytes, p, align);
	ck_must(heapd_heap_of(p) == heap, "%p is not in the heap", p);
	size_t size = heapd_size(p);
	ck_must(size >= bytes && size >= 16, "%zu bytes have %zu", bytes, size);
	ck_must(bytes_zero(p, size), "%zu bytes at %p are not zero", bytes, p);
	ck_must(heapd_start_of((char *)p + size - 1) == p, "%p + %zu has another start", p, size - 1);
	ck_must(heapd_size((char *)p + size - 1) == 1, "%p does not end after %zu bytes", p, size);
}

typedef void *(*allocate)(size_t bytes, void *arg);

/* A crowd of one size, all of it written to its last byte, and each found as it was written; twice, so that memory is used again. */
static void crowd(allocate alloc, void *arg, size_t bytes, size_t align)
{
	static void *live[LIVE_MAX];
	size_t n = live_of(bytes);

	for (unsigned round = 0; round < 2; round++) {
		for (size_t i = 0; i < n; i++) {
			live[i] = alloc(bytes, arg);
			ck_object(live[i], bytes, align);
			pattern_fill(live[i], heapd_size(live[i]), i + 1);
		}
		for (size_t i = 0; i < n; i++)
			ck_must(pattern_whole(live[i], heapd_size(live[i]), i + 1),
				"%zu bytes: object %zu was overwritten", bytes, i);
		for (size_t odd = 0; odd < 2; odd++)
			for (size_t i = odd; i < n; i += 2)
				ck_must(heapd_free(live[i]) == 0, "%s", heapd_error());
		if (round == 0)
			ck_assert_int_eq(heapd_sync(heap), 0);
	}
}

static void *alloc_any(size_t bytes, void *arg)
{
	(void)arg;
	return heapd_alloc(heap, bytes);
}

static void *alloc_leaf(size_t bytes, void *arg)
{
	(void)arg;
	return heapd_alloc_leaf(heap, bytes);
}

START_TEST(every_size_class)
{
	heap = heap_attach(path_flags(_i), 0);
	for (uint32_t c = 0; c < HEAPD_SIZECLASS_COUNT; c++) {
		size_t most = heapd_sizeclass_size(c), least = c ? heapd_sizeclass_size(c - 1) + 1 : 1;

		crowd(alloc_any, NULL, most, 16);
		crowd(alloc_any, NULL, least, 16);
		crowd(alloc_leaf, NULL, most, 16);
		ck_assert_uint_eq(heapd_size(heapd_alloc(heap, least)), most);
		ck_assert_uint_eq(heapd_size(heapd_alloc_leaf(heap, most)), most);
	}
	heap_verify(heap, NULL);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

START_TEST(builtin_types)
{
	heap = heap_attach(path_flags(_i), 0);
	void *any = heapd_alloc(heap, 0), *leaf = heapd_alloc_leaf(heap, 100);

	ck_object(any, 0, 16);
	ck_object(leaf, 100, 16);
	ck_assert_ptr_eq(heapd_type_of(any), heapd_type_any(heap));
	ck_assert_ptr_eq(heapd_type_of((char *)leaf + 50), heapd_type_leaf(heap));
	ck_assert_ptr_ne(heapd_type_any(heap), heapd_type_leaf(heap));
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

static void *alloc_fixed(size_t bytes, void *type)
{
	return heapd_type_alloc((heapd_type *)type, bytes);
}

/* Sizes that no size class has, alignments up to the largest. */
START_TEST(fixed_types)
{
	static const struct {
		size_t size, align;
	} kinds[] = { { 8, 8 },           { 24, 8 },    { 40, 8 },      { 64, 64 },
		      { 1000, 8 },        { 1088, 64 }, { 4096, 4096 }, { 12288, 4096 },
		      { 24 << 10, 1024 }, { 32760, 8 }, { 40000, 8 },   { 65536, 4096 } };

	heap = heap_attach(path_flags(_i), 0);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct heapd_type_desc desc = { .size = sizeof(desc),
						.object_size = kinds[i].size,
						.align = kinds[i].align };
		char name[32];

		snprintf(name, sizeof(name), "fixed-%zu", i);
		desc.name = name;
		desc.flags = i % 2 ? HEAPD_TYPE_SCAN : HEAPD_TYPE_NOSCAN;
		heapd_type *type = heapd_type_define_desc(heap, &desc);
		ck_assert_msg(type != NULL, "%s", heapd_error());
		crowd(alloc_fixed, type, kinds[i].size, kinds[i].align);
		ck_assert_ptr_eq(heapd_type_of(heapd_type_alloc(type, kinds[i].size)), type);
		ck_assert_ptr_null(heapd_type_alloc(type, kinds[i].size + 1));
		ck_said(EINVAL, "bytes");
	}
	ck_assert_ptr_null(heapd_type_alloc(NULL, 8));
	ck_said(EINVAL, "no type");
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

struct cell {
	heapd_ptr(struct cell) next;
	heapd_ptr(char) text;
	long number;
};

struct wide {
	heapd_ptr(struct wide) next;
	char pad[56];
	char tail[];
} __attribute__((aligned(64)));

static void *alloc_cells(size_t bytes, void *type)
{
	return heapd_new_array((heapd_type *)type, struct cell, bytes / sizeof(struct cell));
}

static void *alloc_wide(size_t bytes, void *type)
{
	return heapd_new_flex((heapd_type *)type, struct wide, tail, bytes - offsetof(struct wide, tail));
}

START_TEST(array_types)
{
	heap = heap_attach(path_flags(_i), 0);
	heapd_type *cells = heapd_type_define(heap, "cell", struct cell, next, text);
	static const size_t counts[] = { 1, 2, 3, 5, 10, 43, 100, 1365, 1366, 3000 };

	ck_assert_msg(cells != NULL, "%s", heapd_error());
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		crowd(alloc_cells, cells, counts[i] * sizeof(struct cell), 8);
	ck_assert_ptr_eq(heapd_type_of(heapd_new_array(cells, struct cell, 9)), cells);
	ck_assert_ptr_nonnull(heapd_new_array(cells, struct cell, 0));
	ck_assert_ptr_null(heapd_new_array(cells, struct cell, SIZE_MAX / 16));
	ck_said(ENOMEM, "objects");
	ck_assert_ptr_null(heapd_new_array(cells, struct wide, 1));
	ck_said(EINVAL, "bytes");
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* The alignment makes slots larger than the size class is: each must begin where the span says. */
START_TEST(flexible_types)
{
	heap = heap_attach(path_flags(_i), 0);
	heapd_type *wides = heapd_type_define_flex(heap, "wide", struct wide, tail, next);
	static const size_t tails[] = { 0,   1,    8,    16,    17,    48,    64,   65,
					200, 1000, 5000, 32640, 32704, 32705, 70000 };

	ck_assert_msg(wides != NULL, "%s", heapd_error());
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++)
		crowd(alloc_wide, wides, offsetof(struct wide, tail) + tails[i], 64);
	ck_assert_ptr_eq(heapd_type_of(heapd_new_flex(wides, struct wide, tail, 9)), wides);
	ck_assert_ptr_null(heapd_new_flex(wides, struct wide, tail, SIZE_MAX - 8));
	ck_said(ENOMEM, "elements");
	ck_assert_ptr_null(heapd_type_alloc_flex(heapd_type_any(heap), 16, 16, 1, 1));
	ck_said(EINVAL, "flexible");
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

static void *alloc_on(size_t bytes, void *align)
{
	return heapd_alloc_aligned(heap, bytes, *(size_t *)align);
}

START_TEST(aligned)
{
	heap = heap_attach(path_flags(_i), 0);
	for (size_t align = 1; align <= 2u << 20; align *= 4)
		for (size_t bytes = 0; bytes <= 40000; bytes = bytes * 3 + 1)
			if (align < 65536 || bytes > 10000)
				crowd(alloc_on, &align, bytes, align < 16 ? 16 : align);
	ck_assert_ptr_null(heapd_alloc_aligned(heap, 8, 24));
	ck_said(EINVAL, "24");
	ck_assert_ptr_null(heapd_alloc_aligned(heap, 8, 0));
	ck_assert_ptr_null(heapd_alloc_aligned(heap, 8, 4u << 20));
	ck_said(EINVAL, "2 MiB");
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

START_TEST(many)
{
	void *out[300] = { NULL };

	heap = heap_attach(path_flags(_i), 0);
	ck_assert_uint_eq(heapd_alloc_many(heap, 48, 300, out), 300);
	for (size_t i = 0; i < 300; i++) {
		ck_object(out[i], 48, 16);
		pattern_fill(out[i], 48, i + 1);
	}
	for (size_t i = 0; i < 300; i++)
		ck_assert(pattern_whole(out[i], 48, i + 1));
	ck_assert_uint_eq(heapd_alloc_many(heap, 48, 0, out), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

START_TEST(copies)
{
	static const char text[] = "one index of many files, built by many processes";

	heap = heap_attach(path_flags(_i), 0);
	char *copy = heapd_strdup(heap, text), *part = (char *)heapd_memdup(heap, text, 9);
	ck_assert_str_eq(copy, text);
	ck_assert_str_eq(part, "one index");
	ck_assert_ptr_eq(heapd_type_of(copy), heapd_type_leaf(heap));
	ck_assert_str_eq(heapd_strdup(heap, ""), "");
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

static void *alloc_large(size_t bytes, void *arg)
{
	(void)arg;
	return heapd_alloc(heap, bytes);
}

START_TEST(large)
{
	static const size_t sizes[] = { HEAPD_SMALL_MAX + 1, 40000, 1 << 20, (1 << 20) + 1 };
	const size_t big = 100u << 20;

	heap = heap_attach(path_flags(_i), 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		crowd(alloc_large, NULL, sizes[i], 4096);
	for (unsigned round = 0; round < 2; round++) {
		char *p = (char *)heapd_alloc_leaf(heap, big);
		ck_object(p, big, 4096);
		ck_assert_ptr_eq(heapd_start_of(p + big / 2 + 77), p);
		memset(p, 0xa5, big);
		ck_assert_int_eq(heapd_free(p), 0);
		ck_assert_int_eq(heapd_sync(heap), 0);
	}
	ck_assert_uint_eq(heap_allocated(heap), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* What a slot held cannot be seen by who gets it next, whichever way it came back. */
START_TEST(zeroed_after_reuse)
{
	heap = heap_attach(path_flags(_i), 0);
	cpu_pin(sched_getcpu());
	for (size_t bytes = 16; bytes <= 4096; bytes *= 2)
		for (unsigned i = 0; i < 500; i++) {
			void *p = heapd_alloc(heap, bytes), *q = heapd_alloc_leaf(heap, bytes);

			ck_object(p, bytes, 16);
			ck_object(q, bytes, 16);
			memset(p, 0xff, heapd_size(p));
			memset(q, 0xff, heapd_size(q));
			if (i % 7)
				ck_must(heapd_free(p) == 0, "%s", heapd_error());
			if (i % 5)
				ck_must(heapd_free(q) == 0, "%s", heapd_error());
			if (i % 100 == 99)
				ck_assert_int_eq(heapd_sync(heap), 0);
		}
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

#define LEFT 64u /* words */

/* Fills the stack below its caller's frame: where the words lie. Hidden: no register holds the word itself. */
static __attribute__((noinline, no_sanitize("address", "undefined"))) uintptr_t leave(uintptr_t hidden)
{
	volatile uintptr_t words[LEFT];
	uintptr_t at;

	for (unsigned i = 0; i < LEFT; i++)
		words[i] = ~hidden;
	__asm__(""
		: "=r"(at)
		: "0"(words)); /* an address of what is no more: as a number, which may be returned */
	return at;
}

/* So that the frames of what it calls are where leave() had its own. */
static __attribute__((noinline, no_sanitize("address", "undefined"))) unsigned allocate_then_look(
	uintptr_t at, uintptr_t hidden)
{
	unsigned found = 0;

	for (unsigned i = 0; i < 64 * 64; i++)
		if (!heapd_alloc(heap, 64))
			return LEFT;
	for (unsigned i = 0; i < LEFT; i++)
		found += ((volatile uintptr_t *)at)[i] == ~hidden; /* NOLINT(performance-no-int-to-ptr) */
	return found;
}

/* A word that a call has left is not there for ever, where the collector would take it for one that somebody holds. */
START_TEST(what_calls_have_left_is_cleared)
{
	uintptr_t hidden;

	heap = heap_attach(path_flags(_i), 0);
	hidden = ~(uintptr_t)heapd_alloc(heap, 64);
	ck_assert_uint_eq(allocate_then_look(leave(hidden), hidden), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { every_size_class, builtin_types, fixed_types,        array_types,
				       flexible_types,   aligned,       zeroed_after_reuse, many,
				       copies,           large };
	Suite *suite = suite_create("alloc");
	TCase *tc = tcase_create("alloc"), *frames = tcase_create("frames");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_loop_test(tc, tests[i], 0, OBJECTS_PATHS);
	suite_add_tcase(suite, tc);
	/* Of the frames that the compiler makes: sanitizers have others. */
	tcase_set_tags(frames, "frames");
	tcase_add_checked_fixture(frames, setup, teardown);
	tcase_set_timeout(frames, 60);
	tcase_add_loop_test(frames, what_calls_have_left_is_cleared, 0, OBJECTS_PATHS);
	suite_add_tcase(suite, frames);
	return suite_run(suite);
}
