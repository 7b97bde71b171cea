/* SPDX-License-Identifier: MIT */
/*
 * Types on the client's side: handles from records, definitions checked against them, and what is
 * refused before the daemon is asked. The daemon is away, so whatever needs it fails with EAGAIN.
 */
#include "client/client.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "alone.h"
#include "suite.h"

struct order {
	heapd_ptr(struct order) next;
	long quantity;
	heapd_ptr(char) notes[2];
};

struct list {
	unsigned n;
	heapd_ptr(struct order) items[];
};

static struct heapd_heap *heap;

/* What the daemon writes for a type; map: of up to 64 words. */
static uint32_t record_add(const char *name, uint32_t size, uint32_t flags, uint64_t map)
{
	uint32_t index = heap->t.directory->ntypes;
	struct heapd_type_record *r = &heap->t.types[index];

	*r = (struct heapd_type_record){ .size = size, .align = 8, .flags = flags, .map_word = index };
	strcpy(r->name, name);
	r->map_bits = flags & (HEAPD_TYPE_SCAN | HEAPD_TYPE_NOSCAN) ? 0 : size / 8;
	r->fixed_class = (uint16_t)(500 + index);
	heap->t.maps[index] = map;
	r->state = 1;
	heap->t.directory->ntypes++;
	return index;
}

static void setup(void)
{
	heap = alone_attach();
	record_add("(any)", 8, HEAPD_TYPE_SCAN, 0);
	record_add("(leaf)", 8, HEAPD_TYPE_NOSCAN, 0);
	record_add("(weak)", 16, HEAPD_TYPE_NOSCAN, 0);
	record_add("order", sizeof(struct order), 0, 0xd);
	heap->t.directory->nclasses = 600;
}

START_TEST(definition_that_is_there)
{
	heapd_type *type = heapd_type_define(heap, "order", struct order, next, notes);

	ck_assert_ptr_nonnull(type);
	ck_assert_str_eq(heapd_type_name(type), "order");
	ck_assert_uint_eq(type->index, HEAPD_TYPE_BUILTIN);
	ck_assert_uint_eq(type->size, sizeof(struct order));
	ck_assert_uint_eq(type->fixed_class, 503);
	ck_assert_ptr_eq(heapd_type_define(heap, "order", struct order, notes, next), type);
	ck_assert_ptr_eq(heapd_type_find(heap, "order"), type);
	ck_assert_ptr_eq(type_by_index(heap, HEAPD_TYPE_BUILTIN), type);
}
END_TEST

/* Each differs in one thing, so the daemon is asked, and is away. */
START_TEST(definitions_that_differ)
{
	struct heapd_type_field fields[] = { { 0, 8 }, { 16, 16 } };
	struct heapd_type_desc good = { .size = sizeof(good),
					.name = "order",
					.object_size = 32,
					.align = 8,
					.fields = fields,
					.nfields = 2 };
	struct heapd_type_desc d[8];

	ck_assert_ptr_nonnull(heapd_type_define_desc(heap, &good));
	for (unsigned i = 0; i < 8; i++)
		d[i] = good;
	d[0].name = "ordes";
	d[1].object_size = 40;
	d[2].align = 16;
	d[3].nfields = 1;
	d[4].flags = HEAPD_TYPE_SCAN;
	d[5].flags = HEAPD_TYPE_FLEX;
	d[6].flex_at = 8;
	d[7].flex_elem = 8;
	for (unsigned i = 0; i < 8; i++) {
		errno = 0;
		ck_assert_msg(!heapd_type_define_desc(heap, &d[i]), "definition %u", i);
		ck_assert_int_eq(errno, EAGAIN);
	}
}
END_TEST

#define ck_invalid(name, object_size, flags, ...)                                   \
	do {                                                                        \
		struct heapd_type_field field_[] = { __VA_ARGS__ };                 \
		struct heapd_type_desc desc_ = {                                    \
			sizeof(desc_), name, object_size, 8, flags, 0, 0, field_, 1 \
		};                                                                  \
		errno = 0;                                                          \
		ck_assert_ptr_null(heapd_type_define_desc(heap, &desc_));           \
		ck_assert_int_eq(errno, EINVAL);                                    \
	} while (0)

START_TEST(refused_at_once)
{
	struct heapd_type_desc older = { .size = 8, .name = "x", .object_size = 8 };

	ck_invalid("x", 32, 0, { 4, 8 });
	ck_invalid("x", 32, 0, { 8, 4 });
	ck_invalid("x", 32, 0, { 8, 0 });
	ck_invalid("x", 32, 0, { 32, 8 });
	ck_invalid("x", 32, 0, { 24, 16 });
	ck_invalid("x", 36, 0, { 32, 8 });
	ck_invalid("x", 65536, 0, { 32768, 8 });
	ck_invalid("x", 32, 0, { 0xfffffff8, 16 });
	ck_invalid("x", 32, HEAPD_TYPE_SCAN, { 4, 8 });
	ck_invalid("x", 32, HEAPD_TYPE_NOSCAN, { 0, 8 });
	ck_invalid("x", 1ul << 32, 0, { 0, 8 });
	ck_invalid("", 32, 0, { 0, 8 });
	ck_invalid(NULL, 32, 0, { 0, 8 });
	ck_invalid("a name of exactly forty-eight bytes, one too many", 32, 0, { 0, 8 });
	ck_assert_ptr_null(heapd_type_define_desc(heap, &older));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(heapd_type_define_desc(heap, NULL));
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

/* The last word that can be listed. */
START_TEST(far_field)
{
	struct heapd_type_field field = { 32760, 8 };
	struct heapd_type_desc desc = { .size = sizeof(desc),
					.name = "far",
					.object_size = 65536,
					.align = 8,
					.fields = &field,
					.nfields = 1 };
	uint32_t index = record_add("far", 65536, 0, 0);
	struct heapd_type_record *r = &heap->t.types[index];

	r->map_word = 64;
	r->map_bits = 4096;
	ck_assert_ptr_null(heapd_type_define_desc(heap, &desc));
	heap->t.maps[64 + 63] = 1ull << 63;
	ck_assert_ptr_nonnull(heapd_type_define_desc(heap, &desc));
}
END_TEST

START_TEST(built_in)
{
	heapd_type *any = heapd_type_any(heap), *leaf = heapd_type_leaf(heap);

	ck_assert_uint_eq(any->flags, HEAPD_TYPE_SCAN);
	ck_assert_uint_eq(leaf->flags, HEAPD_TYPE_NOSCAN);
	ck_assert_int_eq(type_class(leaf, HEAPD_KIND_ARRAY, 5), (int)HEAPD_SIZECLASS_TOTAL + 5);
	ck_assert_int_eq(type_class(any, HEAPD_KIND_FLEX, HEAPD_SIZECLASS_LARGE), (int)HEAPD_SIZECLASS_LARGE);
}
END_TEST

START_TEST(nobody_knows_it)
{
	ck_assert_ptr_null(heapd_type_find(heap, "orders"));
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_ptr_null(type_by_index(heap, HEAPD_TYPE_BUILTIN + 1));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(heapd_type_find(NULL, "order"));
	ck_assert_int_eq(errno, ENODEV);
}
END_TEST

START_TEST(class_from_record_or_daemon)
{
	heapd_type *type = heapd_type_find(heap, "order");

	ck_assert_int_eq(type_class(type, HEAPD_KIND_FIXED, 0), 503);
	ck_assert_int_eq(type_class(type, HEAPD_KIND_ARRAY, 7), -EAGAIN);
	heap->t.types[HEAPD_TYPE_BUILTIN].array_class[7] = 555;
	ck_assert_int_eq(type_class(type, HEAPD_KIND_ARRAY, 7), 555);
	heap->t.types[HEAPD_TYPE_BUILTIN].array_class[7] = 0;
	ck_assert_int_eq(type_class(type, HEAPD_KIND_ARRAY, 7), 555); /* known here by now */
	ck_assert_int_eq(type_class(type, HEAPD_KIND_FLEX, 7), -EINVAL);
}
END_TEST

START_TEST(flexible)
{
	uint32_t index = record_add("list", sizeof(struct list),
				    HEAPD_TYPE_FLEX | HEAPD_TYPE_FLEX_PTRS | HEAPD_TYPE_SCAN, 0);
	struct heapd_type_record *r = &heap->t.types[index];

	r->flex_at = r->flex_elem = 8;
	r->flex_class[3] = 560;
	heapd_type *type = heapd_type_define_flex(heap, "list", struct list, items);
	ck_assert_ptr_nonnull(type);
	ck_assert_int_eq(type_class(type, HEAPD_KIND_FLEX, 3), 560);
	ck_assert_int_eq(type_class(type, HEAPD_KIND_ARRAY, 3), -EINVAL);
}
END_TEST

static void *define_order(void *out)
{
	*(heapd_type **)out = heapd_type_find(heap, "order");
	return NULL;
}

/* Whoever is first, all get the same handle. */
START_TEST(one_handle_for_all_threads)
{
	pthread_t threads[8];
	heapd_type *got[8];

	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, define_order, &got[i]), 0);
	for (unsigned i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_ptr_eq(got[i], got[0]);
	types_free(heap);
	ck_assert_ptr_null(heap->types[2]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("type");
	TCase *tests = tcase_create("types");

	tcase_add_checked_fixture(tests, setup, NULL);
	tcase_add_test(tests, definition_that_is_there);
	tcase_add_test(tests, definitions_that_differ);
	tcase_add_test(tests, refused_at_once);
	tcase_add_test(tests, far_field);
	tcase_add_test(tests, built_in);
	tcase_add_test(tests, nobody_knows_it);
	tcase_add_test(tests, class_from_record_or_daemon);
	tcase_add_test(tests, flexible);
	tcase_add_test(tests, one_handle_for_all_threads);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
