/* SPDX-License-Identifier: MIT */
/*
 * heapd_realloc(): what is kept is kept, what is added is zero, the kind of object stays, and the old
 * place is free exactly when the object moved.
 */
#include <stdlib.h>

#include "objects.h"
#include "suite.h"

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

struct cell {
	heapd_ptr(struct cell) next;
	long number, more;
};

struct text {
	heapd_ptr(struct text) next;
	char tail[];
};

/* From one size to another: the first min(from, to) bytes stay, the rest of `to` is zero. */
static void *resize(void *p, size_t from, size_t to)
{
	size_t both = from < to ? from : to;
	heapd_type *type = heapd_type_of(p);

	for (size_t i = 0; i < from; i++)
		((unsigned char *)p)[i] = (unsigned char)(i * 7 + 1);
	char *q = (char *)heapd_realloc(heap, p, to);
	ck_assert_msg(q != NULL, "%zu to %zu: %s", from, to, heapd_error());
	ck_assert_ptr_eq(heapd_type_of(q), type);
	ck_assert_ptr_eq(heapd_start_of(q), q);
	ck_assert_uint_ge(heapd_size(q), to);
	for (size_t i = 0; i < both; i++)
		ck_must((unsigned char)q[i] == (unsigned char)(i * 7 + 1), "%zu to %zu: byte %zu was lost",
			from, to, i);
	ck_assert_msg(bytes_zero(q + both, to - both), "%zu to %zu: what is added is not zero", from, to);
	return q;
}

/* Up and down through sizes that stay in place, move, and become large. */
static void wander(void *p, size_t size, size_t unit, size_t least)
{
	static const size_t sizes[] = { 3,    5,      8,      9,      30,    17,    100,   99,
					4000, 2100,   2100,   33000,  40900, 70000, 40000, 5000,
					5007, 300000, 160000, 299999, 1000,  20,    1 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t to = (sizes[i] + unit - 1) / unit * unit;

		if (to < least)
			to = least;
		p = resize(p, size, to);
		size = to;
	}
	ck_assert_int_eq(heapd_free(p), 0);
	ck_assert_uint_eq(heap_allocated(heap), 0);
}

START_TEST(untyped)
{
	heap = heap_attach(path_flags(_i), 0);
	wander(heapd_alloc(heap, 1), 1, 1, 0);
	wander(heapd_alloc_leaf(heap, 1), 1, 1, 0);
	void *p = heapd_realloc(heap, NULL, 100);
	ck_assert_ptr_eq(heapd_type_of(p), heapd_type_any(heap));
	ck_assert(bytes_zero(p, 100));
	ck_assert_int_eq(heapd_free(p), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

START_TEST(arrays)
{
	heap = heap_attach(path_flags(_i), 0);
	heapd_type *cells = heapd_type_define(heap, "cell", struct cell, next);

	wander(heapd_new_array(cells, struct cell, 1), sizeof(struct cell), sizeof(struct cell),
	       sizeof(struct cell));
	struct cell *one = heapd_new(cells, struct cell);
	ck_assert_ptr_null(heapd_realloc(heap, one, 200));
	ck_said(EINVAL, "one size");
	ck_assert_ptr_eq(heapd_realloc(heap, one, sizeof(*one)), one);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

START_TEST(flexible)
{
	heap = heap_attach(path_flags(_i), 0);
	heapd_type *texts = heapd_type_define_flex(heap, "text", struct text, tail, next);

	wander(heapd_new_flex(texts, struct text, tail, 1), 9, 1, sizeof(struct text));
	struct text *big = heapd_new_flex(texts, struct text, tail, 1000);
	ck_assert_ptr_null(heapd_realloc(heap, big, 4));
	ck_said(EINVAL, "at least");
	ck_assert_int_eq(heapd_free(big), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* What a failed one leaves: the object as it was. */
START_TEST(refused)
{
	heap = heap_attach(path_flags(_i), 0);
	char *p = (char *)heapd_alloc(heap, 1000);

	pattern_fill(p, 1000, 1);
	ck_assert_ptr_null(heapd_realloc(heap, p, 2ul << 30));
	ck_said(ENOMEM, "");
	ck_assert(pattern_whole(p, 1000, 1));
	ck_assert_ptr_null(heapd_realloc(NULL, p, 10));
	ck_said(ENODEV, "attach");
	ck_assert_int_eq(heapd_free(p), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* An object that is free already is not given a second life. */
START_TEST(freed_already)
{
	cpu_pin(sched_getcpu());
	heap = heap_attach(path_flags(_i), 0);
	void *p = heapd_alloc(heap, 64), *q = heapd_alloc(heap, 64);

	ck_assert_int_eq(heapd_free(p), 0);
	ck_assert_ptr_null(heapd_realloc(heap, p, 1000));
	ck_said(EALREADY, "double free");
	ck_assert_int_eq(heapd_free(q), 0);
	ck_assert_uint_eq(heap_allocated(heap), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { untyped, arrays, flexible, refused, freed_already };
	Suite *suite = suite_create("realloc");
	TCase *tc = tcase_create("realloc");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_loop_test(tc, tests[i], 0, OBJECTS_PATHS);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
