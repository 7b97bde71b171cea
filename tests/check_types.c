/* SPDX-License-Identifier: MIT */
/* Types and classes: the records of a heap, which definitions pass, and when two are the same. */
#include "daemon/types.h"
#include "heapd/atomic.h"
#include "suite.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct log lines;
static struct config config;
static struct account account;
static struct heap *heap;
static struct refusal why;

static void report(void *arg, int priority, const char *file, unsigned line, const char *text)
{
	(void)arg, (void)priority;
	fprintf(stderr, "%s:%u: %s\n", file ? file : "-", line, text);
}

static void setup(void)
{
	struct heap_plan plan = {
		.ledger_bytes = 4096, .base = heap_first_base(), .account = &account, .log = &lines
	};
	struct config_error error;

	log_init(&lines, STDERR_FILENO, LOG_TARGET_CONSOLE, LOG_WARNING);
	account_init(&account);
	ck_assert_int_eq(config_init(&config), 0);
	ck_assert_int_eq(config_override(&config, "heap.test.Size=64M", &error), 0);
	ck_assert_int_eq(config_override(&config, "heap.test.Limit=64M", &error), 0);
	ck_assert_int_eq(config_check(&config, report, NULL), 0);
	plan.config = config_find_heap(&config, "test");
	ck_assert_int_eq(heap_geometry(plan.config, &lines, &plan.geometry), 0);
	ck_assert_int_eq(heap_create(&plan, &heap), 0);
	ck_assert_int_eq(types_init(heap), 0);
}

static void teardown(void)
{
	types_deinit(heap);
	heap_destroy(heap);
	ck_assert_uint_eq(account_taken(&account), 0);
	config_free(&config);
}

static struct heapd_type_request order(void)
{
	return (struct heapd_type_request){
		.name = "order", .size = 32, .align = 8, .map_bits = 4, .map = { 0x3 }
	};
}

static int define(const struct heapd_type_request *request, struct heapd_type_reply *reply)
{
	struct heapd_type_reply ignored;

	why.text[0] = '\0';
	return types_define(heap, request, true, reply ? reply : &ignored, &why);
}

static int class_of(uint32_t type, enum heapd_kind kind, uint32_t sizeclass, uint32_t *class)
{
	struct heapd_class_request request = { .type = type, .kind = kind, .sizeclass = sizeclass };

	why.text[0] = '\0';
	return types_class(heap, &request, true, class, &why);
}

/* Everything that a class record promises of spans of that class. */
static void check_class(const struct heapd_class *c)
{
	struct heapd_span span = { .elemsize = c->slot_size, .magic = c->magic, .slab_slots = c->slab_slots };
	uint64_t bytes = c->span_pages * HEAPD_PAGE_SIZE;

	ck_assert_uint_eq(c->slab_slots, heapd_slab_slots(c->slot_size));
	ck_assert_uint_ge(c->span_pages, 1);
	ck_assert_uint_le(c->span_pages, 32);
	span.nslots = (uint32_t)(bytes / c->slot_size);
	ck_assert_uint_ge(span.nslots, c->slot_size <= HEAPD_PAGE_SIZE ? 4 : 1);
	ck_assert_uint_le(heapd_span_slabs(&span), 256);
	ck_assert_uint_le(16 * (bytes - (uint64_t)span.nslots * c->slot_size), bytes);
	for (uint32_t i = 0; i < span.nslots; i++) {
		uint64_t at = (uint64_t)i * c->slot_size;

		ck_assert_uint_eq(heapd_span_index(&span, at), i);
		ck_assert_uint_eq(heapd_span_index(&span, at + c->slot_size - 1), i);
	}
}

START_TEST(built_in_classes_stand_where_clients_look)
{
	ck_assert_uint_eq(heap->t.directory->ntypes, HEAPD_TYPE_BUILTIN);
	ck_assert_uint_eq(heap->t.directory->nclasses, HEAPD_CLASS_BUILTIN);
	for (uint32_t type = 0; type < HEAPD_TYPE_BUILTIN; type++) {
		const struct heapd_type_record *t = types_record(heap, type);

		ck_assert_uint_eq(t->state, 1);
		ck_assert_uint_eq(t->flags, type == HEAPD_TYPE_ANY ? HEAPD_TYPE_SCAN : HEAPD_TYPE_NOSCAN);
		for (uint32_t i = 0; i < HEAPD_SIZECLASS_TOTAL; i++) {
			const struct heapd_class *c = &heap->t.classes[type * HEAPD_SIZECLASS_TOTAL + i];

			ck_assert_uint_eq(c->type, type);
			ck_assert_uint_eq(c->kind, HEAPD_KIND_ARRAY);
			ck_assert_uint_eq(c->sizeclass, i);
			if (i < HEAPD_SIZECLASS_LARGE) {
				ck_assert_uint_eq(c->slot_size, heapd_sizeclass_size(i));
				check_class(c);
			} else {
				ck_assert_uint_eq(c->slot_size, 0);
			}
		}
	}
	ck_assert_ptr_eq(types_record(heap, HEAPD_TYPE_BUILTIN), NULL);
	ck_assert_ptr_eq(types_class_record(heap, HEAPD_CLASS_BUILTIN), NULL);
	ck_assert_ptr_eq(types_class_record(heap, UINT32_MAX), NULL);
}
END_TEST

/* A type may be of any size. */
START_TEST(spans_of_every_slot_size_are_well_cut)
{
	for (uint32_t size = 16; size <= HEAPD_SMALL_MAX; size += 8) {
		struct heapd_class c = { .slot_size = size,
					 .slab_slots = (uint16_t)heapd_slab_slots(size),
					 .magic = heapd_span_magic(size),
					 .span_pages = types_span_pages(size) };

		check_class(&c);
	}
}
END_TEST

START_TEST(slots_are_as_large_as_alignment_asks)
{
	static const struct {
		uint32_t size, align;
		uint64_t slot;
	} rows[] = {
		{ 1, 8, 16 },    { 16, 8, 16 },        { 17, 8, 24 },       { 24, 8, 24 },
		{ 24, 16, 32 },  { 40, 64, 64 },       { 65, 64, 128 },     { 1, 4096, 4096 },
		{ 100, 8, 104 }, { 4097, 4096, 8192 }, { 32768, 8, 32768 }, { 4294967295u, 8, 4294967296ul },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_uint_eq(types_slot_size(rows[i].size, rows[i].align), rows[i].slot);
}
END_TEST

START_TEST(type_is_made_once_and_found_again)
{
	struct heapd_type_request request = order();
	struct heapd_type_reply first, second;
	const struct heapd_type_record *t;

	ck_assert_int_eq(define(&request, &first), 0);
	ck_assert_uint_eq(first.made, 1);
	ck_assert_uint_eq(first.type, HEAPD_TYPE_BUILTIN);
	request.map_bits = 2; /* says the same */
	ck_assert_int_eq(define(&request, &second), 0);
	ck_assert_uint_eq(second.made, 0);
	ck_assert_uint_eq(second.type, first.type);

	t = types_record(heap, first.type);
	ck_assert_str_eq(t->name, "order");
	ck_assert_uint_eq(t->size, 32);
	ck_assert_uint_eq(t->map_bits, 4);
	ck_assert_uint_eq(heap->t.maps[t->map_word], 0x3);
	ck_assert_uint_eq(heap->t.classes[t->fixed_class].slot_size, 32);
	ck_assert_uint_eq(heap->t.classes[t->fixed_class].kind, HEAPD_KIND_FIXED);
	ck_assert_uint_eq(heap->t.classes[t->fixed_class].type, first.type);
	ck_assert_uint_eq(heap->t.directory->ntypes, HEAPD_TYPE_BUILTIN + 1);
	ck_assert_uint_eq(heap->t.directory->nclasses, HEAPD_CLASS_BUILTIN + 1);
}
END_TEST

/* Each change of a definition, and the words in which its refusal says what differs. */
START_TEST(other_definition_under_the_name_is_refused)
{
	struct heapd_type_request r = order();

	ck_assert_int_eq(define(&r, NULL), 0);
#define DIFFERS(change, words)                                          \
	do {                                                            \
		r = order();                                            \
		change;                                                 \
		ck_assert_int_eq(define(&r, NULL), -EEXIST);            \
		ck_assert_msg(strstr(why.text, words), "%s", why.text); \
	} while (0)
	DIFFERS(r.size = 40, "size 32 there, 40 here");
	DIFFERS(r.align = 16, "alignment 8 there, 16 here");
	DIFFERS(r.map[0] = 0x7, "the word at offset 16 is none there, a pointer here");
	DIFFERS(r.map[0] = 0x2, "the word at offset 0 is a pointer there, none here");
	DIFFERS((r.flags = HEAPD_TYPE_SCAN, r.map[0] = 0), "the fields named are pointers there, any word");
	DIFFERS((r.flags = HEAPD_TYPE_NOSCAN, r.map[0] = 0), "no word is a pointer here");
	DIFFERS((r.flags = HEAPD_TYPE_FLEX, r.flex_at = 32, r.flex_elem = 1), "no flexible array there");
#undef DIFFERS
	r = order();
	strcpy(r.name, "tail");
	r.flags = HEAPD_TYPE_FLEX;
	r.flex_at = 24;
	r.flex_elem = 4;
	ck_assert_int_eq(define(&r, NULL), 0);
	r.flex_elem = 8;
	ck_assert_int_eq(define(&r, NULL), -EEXIST);
	ck_assert_ptr_ne(strstr(why.text, "of 4 there, 8 here"), NULL);
	r.flex_elem = 4;
	r.flex_at = 32;
	ck_assert_int_eq(define(&r, NULL), -EEXIST);
	ck_assert_ptr_ne(strstr(why.text, "array at 24 there, 32 here"), NULL);
	ck_assert_uint_eq(heap->t.directory->ntypes, HEAPD_TYPE_BUILTIN + 2);
}
END_TEST

START_TEST(definitions_that_make_no_sense_are_refused)
{
	uint32_t classes = heap->t.directory->nclasses;
	struct heapd_type_request r;

#define REFUSED(change)                                                               \
	do {                                                                          \
		r = order();                                                          \
		change;                                                               \
		ck_assert_msg(define(&r, NULL) == -EINVAL, #change ": %s", why.text); \
		ck_assert_str_ne(why.text, "");                                       \
	} while (0)
	REFUSED(r.name[0] = '\0');
	REFUSED(memset(r.name, 'x', sizeof(r.name)));
	REFUSED(r.name[2] = '\n');
	REFUSED(r.name[2] = (char)0xc3);
	REFUSED(strcpy(r.name, "(any)"));
	REFUSED(r.size = 0);
	REFUSED(r.size = (64u << 20) + 1);
	REFUSED(r.align = 0);
	REFUSED(r.align = 4);
	REFUSED(r.align = 24);
	REFUSED(r.align = 8192);
	REFUSED(r.flags = 16);
	REFUSED(r.flags = HEAPD_TYPE_SCAN | HEAPD_TYPE_NOSCAN);
	REFUSED(r.flags = HEAPD_TYPE_FLEX_PTRS);
	REFUSED(r.flags = HEAPD_TYPE_NOSCAN); /* with a map */
	REFUSED(r.flags = HEAPD_TYPE_SCAN);
	REFUSED(r.flex_at = 8);
	REFUSED(r.flex_elem = 8);
	REFUSED((r.flags = HEAPD_TYPE_FLEX, r.flex_at = 33, r.flex_elem = 1));
	REFUSED((r.flags = HEAPD_TYPE_FLEX, r.flex_at = 32));
	REFUSED((r.flags = HEAPD_TYPE_FLEX | HEAPD_TYPE_FLEX_PTRS, r.flex_at = 28, r.flex_elem = 8));
	REFUSED((r.flags = HEAPD_TYPE_FLEX | HEAPD_TYPE_FLEX_PTRS, r.flex_at = 32, r.flex_elem = 16));
	REFUSED((r.map_bits = 5, r.map[0] = 0x10));
	REFUSED((r.map_bits = 4096, r.map[63] = 1));
	REFUSED(r.map_bits = 4097);
	REFUSED(r.map_bits = UINT32_MAX);
#undef REFUSED
	ck_assert_uint_eq(heap->t.directory->ntypes, HEAPD_TYPE_BUILTIN);
	ck_assert_uint_eq(heap->t.directory->nclasses, classes);
}
END_TEST

START_TEST(large_type_has_a_large_class)
{
	struct heapd_type_request r = order();
	struct heapd_type_reply reply;
	const struct heapd_type_record *t;

	r.size = HEAPD_SMALL_MAX;
	ck_assert_int_eq(define(&r, &reply), 0);
	ck_assert_uint_eq(heap->t.classes[types_record(heap, reply.type)->fixed_class].slot_size,
			  HEAPD_SMALL_MAX);
	strcpy(r.name, "larger");
	r.size = HEAPD_SMALL_MAX + 1;
	r.map_bits = 4096;
	r.map[63] = 1ull << 63;
	ck_assert_int_eq(define(&r, &reply), 0);
	t = types_record(heap, reply.type);
	ck_assert_uint_eq(heap->t.classes[t->fixed_class].slot_size, 0);
	ck_assert_uint_eq(heap->t.classes[t->fixed_class].sizeclass, HEAPD_SIZECLASS_LARGE);
	ck_assert_uint_eq(t->map_bits, 4096);
	ck_assert_uint_eq(heap->t.maps[t->map_word + 63], 1ull << 63);
}
END_TEST

START_TEST(classes_are_made_on_request_and_found_again)
{
	struct heapd_type_request r = order();
	struct heapd_type_reply reply, flex;
	uint32_t class, again;

	r.align = 64;
	ck_assert_int_eq(define(&r, &reply), 0);
	strcpy(r.name, "tail");
	r.flags = HEAPD_TYPE_FLEX;
	r.flex_elem = 1;
	ck_assert_int_eq(define(&r, &flex), 0);
	for (uint32_t i = 0; i < HEAPD_SIZECLASS_TOTAL; i++) {
		const struct heapd_class *c;

		ck_assert_int_eq(class_of(reply.type, HEAPD_KIND_ARRAY, i, &class), 0);
		ck_assert_int_eq(class_of(reply.type, HEAPD_KIND_ARRAY, i, &again), 0);
		ck_assert_uint_eq(class, again);
		ck_assert_uint_eq(types_record(heap, reply.type)->array_class[i], class);
		c = types_class_record(heap, class);
		ck_assert_uint_eq(c->type, reply.type);
		ck_assert_uint_eq(c->sizeclass, i);
		if (i == HEAPD_SIZECLASS_LARGE)
			continue;
		ck_assert_uint_ge(c->slot_size, heapd_sizeclass_size(i));
		ck_assert_uint_le(c->slot_size, HEAPD_SMALL_MAX);
		ck_assert_uint_eq(c->slot_size % 64, 0);
		check_class(c);
	}
	ck_assert_int_eq(class_of(flex.type, HEAPD_KIND_FLEX, 3, &class), 0);
	ck_assert_uint_eq(types_class_record(heap, class)->kind, HEAPD_KIND_FLEX);
	ck_assert_uint_eq(types_record(heap, flex.type)->flex_class[3], class);
	ck_assert_int_eq(class_of(flex.type, HEAPD_KIND_FIXED, 0, &class), 0);
	ck_assert_uint_eq(class, types_record(heap, flex.type)->fixed_class);
	ck_assert_int_eq(class_of(HEAPD_TYPE_LEAF, HEAPD_KIND_ARRAY, 5, &class), 0);
	ck_assert_uint_eq(class, HEAPD_SIZECLASS_TOTAL + 5);
	ck_assert_int_eq(class_of(HEAPD_TYPE_ANY, HEAPD_KIND_ARRAY, 0, &class), 0);
	ck_assert_uint_eq(class, 0);

	ck_assert_int_eq(class_of(reply.type, HEAPD_KIND_FLEX, 3, &class), -EINVAL);
	ck_assert_int_eq(class_of(flex.type, HEAPD_KIND_ARRAY, 3, &class), -EINVAL);
	ck_assert_int_eq(class_of(reply.type, HEAPD_KIND_NONE, 3, &class), -EINVAL);
	ck_assert_int_eq(class_of(reply.type, 77, 3, &class), -EINVAL);
	ck_assert_int_eq(class_of(reply.type, HEAPD_KIND_ARRAY, HEAPD_SIZECLASS_TOTAL, &class), -EINVAL);
	ck_assert_int_eq(class_of(HEAPD_TYPE_MAX + 7, HEAPD_KIND_ARRAY, 3, &class), -EINVAL);
}
END_TEST

START_TEST(who_may_only_read_finds_and_makes_nothing)
{
	struct heapd_class_request request = { .type = HEAPD_TYPE_BUILTIN,
					       .kind = HEAPD_KIND_ARRAY,
					       .sizeclass = 4 };
	struct heapd_type_request r = order();
	struct heapd_type_reply reply;
	uint32_t class, made;

	ck_assert_int_eq(types_define(heap, &r, false, &reply, &why), -EROFS);
	ck_assert_int_eq(define(&r, NULL), 0);
	ck_assert_int_eq(types_define(heap, &r, false, &reply, &why), 0);
	ck_assert_int_eq(types_class(heap, &request, false, &class, &why), -EROFS);
	ck_assert_int_eq(class_of(HEAPD_TYPE_BUILTIN, HEAPD_KIND_ARRAY, 4, &made), 0);
	ck_assert_int_eq(types_class(heap, &request, false, &class, &why), 0);
	ck_assert_uint_eq(class, made);
}
END_TEST

/* Each table runs full with a sentence, and what was there still is. */
START_TEST(full_tables_refuse)
{
	struct heapd_type_request r = order();
	uint32_t class, n;
	int status;

	for (n = HEAPD_TYPE_BUILTIN; n < HEAPD_TYPE_MAX; n++) {
		snprintf(r.name, sizeof(r.name), "type%u", n);
		ck_assert_int_eq(define(&r, NULL), 0);
	}
	strcpy(r.name, "one too many");
	ck_assert_int_eq(define(&r, NULL), -ENOSPC);
	ck_assert_ptr_ne(strstr(why.text, "1024 types"), NULL);
	n = heap->t.directory->nclasses;
	for (uint32_t type = HEAPD_TYPE_BUILTIN; (status = class_of(type, HEAPD_KIND_ARRAY, 4, &class)) == 0;
	     type++)
		n++;
	ck_assert_int_eq(status, -ENOSPC);
	ck_assert_uint_eq(n, HEAPD_CLASS_MAX);
	ck_assert_ptr_ne(strstr(why.text, "2048 classes"), NULL);
	strcpy(r.name, "type77");
	ck_assert_int_eq(define(&r, NULL), 0);
}
END_TEST

START_TEST(maps_have_a_pool)
{
	struct heapd_type_request r = { .size = 64 * 64 * 8, .align = 8, .map_bits = 4096 };
	uint32_t n = 0, fit = HEAPD_MAP_WORDS / 64;

	memset(r.map, 0xff, sizeof(r.map));
	if (fit > HEAPD_TYPE_MAX - HEAPD_TYPE_BUILTIN)
		fit = HEAPD_TYPE_MAX - HEAPD_TYPE_BUILTIN;
	do
		snprintf(r.name, sizeof(r.name), "type%u", n);
	while (define(&r, NULL) == 0 && ++n);
	ck_assert_uint_eq(n, fit);
	ck_assert_uint_eq(heap->t.maps[64 * n - 1], UINT64_MAX);
	ck_assert_uint_eq(heap->t.maps[64 * n], 0);
}
END_TEST

#define SEEN_TYPES 800u

/* As the marker does: looks at a class's type as soon as it sees the class. How many it found without their maps. */
static void *classes_watch(void *arg)
{
	uint32_t seen = HEAPD_CLASS_BUILTIN, n;
	uint64_t *empty = arg;

	while (seen < HEAPD_CLASS_BUILTIN + SEEN_TYPES) {
		n = HEAPD_LOAD_ACQUIRE(&heap->t.directory->nclasses);
		for (; seen < n; seen++) {
			const struct heapd_type_record *type = &heap->t.types[heap->t.classes[seen].type];

			*empty += !type->map_bits || heap->t.maps[type->map_word] != 0x3;
		}
	}
	return NULL;
}

START_TEST(a_class_is_not_seen_before_its_type)
{
	struct heapd_type_request r = order();
	uint64_t empty = 0;
	pthread_t watcher;

	ck_assert_int_eq(pthread_create(&watcher, NULL, classes_watch, &empty), 0);
	usleep(1000);
	for (unsigned i = 0; i < SEEN_TYPES; i++) {
		snprintf(r.name, sizeof(r.name), "type%u", i);
		ck_assert_int_eq(define(&r, NULL), 0);
	}
	pthread_join(watcher, NULL);
	ck_assert_uint_eq(empty, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("types");
	TCase *tcase = tcase_create("types");

	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, built_in_classes_stand_where_clients_look);
	tcase_add_test(tcase, spans_of_every_slot_size_are_well_cut);
	tcase_add_test(tcase, slots_are_as_large_as_alignment_asks);
	tcase_add_test(tcase, type_is_made_once_and_found_again);
	tcase_add_test(tcase, other_definition_under_the_name_is_refused);
	tcase_add_test(tcase, definitions_that_make_no_sense_are_refused);
	tcase_add_test(tcase, large_type_has_a_large_class);
	tcase_add_test(tcase, classes_are_made_on_request_and_found_again);
	tcase_add_test(tcase, who_may_only_read_finds_and_makes_nothing);
	tcase_add_test(tcase, full_tables_refuse);
	tcase_add_test(tcase, maps_have_a_pool);
	tcase_add_test(tcase, a_class_is_not_seen_before_its_type);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
