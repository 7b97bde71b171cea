/* SPDX-License-Identifier: MIT */
/*
 * heapd.h as a program sees it: what each macro hands to the function behind it, and what the fields'
 * operations do while no barrier is on. Compiled as C here and as C++ in check_header_cxx.cc.
 *
 * Functions that would need a heap are replaced by ones that note their arguments.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define heapd_type_define_desc  noted_define_desc
#define heapd_type_alloc        noted_alloc
#define heapd_type_alloc_array  noted_alloc_array
#define heapd_type_alloc_flex   noted_alloc_flex
#define heapd_root_sym          noted_root
#define heapd_pin_sym           noted_pin
#define heapd_pin_field_sym     noted_pin_field
#define heapd_take_sym          noted_take
#define heapd_weak_get_sym      noted_weak_get
#define heapd_thread_create_sym noted_thread_create
#include "heapd.h"
#include "suite.h"

#ifdef __cplusplus
#define C_LINKAGE extern "C"
#define NONE      nullptr
#else
#define C_LINKAGE
#define NONE NULL
#endif

struct never_complete;
struct order {
	heapd_ptr(struct order) next;
	long quantity;
	heapd_ptr(char) note;
	heapd_ptr(const char) label;
	heapd_ptr(struct order) peers[3];
	heapd_ptr(void) grid[2][2];
	heapd_ptr(struct never_complete) other;
	char text[16];
};
struct node {
	heapd_ptr(struct node) up;
	unsigned n;
	heapd_ptr(struct node) kids[];
};
struct text {
	unsigned short n;
	char bytes[];
};
struct numbers {
	heapd_ptr(struct node) owner;
	long n[];
};
struct pair {
	heapd_ptr(struct node) node;
	long weight;
};
struct pairs {
	unsigned n;
	struct pair list[];
};
struct place {
	unsigned file, at;
};
struct places {
	unsigned n;
	struct place list[];
};

/* Set by the functions that note. */
static struct heapd_type_desc desc;
static struct heapd_type_field fields[70];
static size_t sizes[4];
static const void *pointers[3];
static char object[256];

static heapd_heap *const heap = (heapd_heap *)(void *)&sizes;
static heapd_type *const type = (heapd_type *)(void *)&desc;

C_LINKAGE heapd_type *noted_define_desc(heapd_heap *h, const struct heapd_type_desc *d)
{
	ck_assert_ptr_eq(h, heap);
	ck_assert_uint_eq(d->size, sizeof(*d));
	desc = *d;
	ck_assert_uint_le(d->nfields, 64);
	for (size_t i = 0; i < d->nfields; i++)
		fields[i] = d->fields[i];
	return type;
}

static void *note(const void *p, size_t a, size_t b, size_t c, size_t d)
{
	pointers[0] = p;
	sizes[0] = a;
	sizes[1] = b;
	sizes[2] = c;
	sizes[3] = d;
	return object;
}

C_LINKAGE void *noted_alloc(heapd_type *t, size_t size)
{
	return note(t, size, 0, 0, 0);
}

C_LINKAGE void *noted_alloc_array(heapd_type *t, size_t size, size_t n)
{
	return note(t, size, n, 0, 0);
}

C_LINKAGE void *noted_alloc_flex(heapd_type *t, size_t size, size_t at, size_t elem, size_t n)
{
	return note(t, size, at, elem, n);
}

C_LINKAGE void *noted_root(heapd_heap *h, const char *name, size_t size, heapd_type *t)
{
	ck_assert_str_eq(name, "shop");
	pointers[1] = h;
	return note(t, size, 0, 0, 0);
}

C_LINKAGE void *noted_pin(heapd_heap *h, const void *p)
{
	pointers[1] = h;
	return note(p, 0, 0, 0, 0);
}

C_LINKAGE void *noted_pin_field(heapd_heap *h, const void *field)
{
	pointers[1] = h;
	return note(field, 0, 0, 0, 0);
}

C_LINKAGE void *noted_weak_get(const heapd_weak *weak)
{
	return note(weak, 0, 0, 0, 0);
}

C_LINKAGE void *noted_take(void *pin)
{
	return note(pin, 0, 0, 0, 0);
}

C_LINKAGE int noted_thread_create(heapd_heap *h, void *thread, const void *attr, void *(*start)(void *),
				  void *arg)
{
	pointers[1] = h;
	pointers[2] = attr;
	note(thread, 0, 0, 0, 0);
	return start(arg) == arg ? 0 : -1;
}

static void *identity(void *arg)
{
	return arg;
}

#define ck_field(i, at, size)                             \
	do {                                              \
		ck_assert_uint_eq(fields[i].offset, at);  \
		ck_assert_uint_eq(fields[i].bytes, size); \
	} while (0)

START_TEST(define_lists_fields)
{
	heapd_type *t = heapd_type_define(heap, "order", struct order, next, peers, note, label, grid, other);

	ck_assert_ptr_eq(t, type);
	ck_assert_str_eq(desc.name, "order");
	ck_assert_uint_eq(desc.object_size, sizeof(struct order));
	ck_assert_uint_eq(desc.align, 8);
	ck_assert_uint_eq(desc.flags, 0);
	ck_assert_uint_eq(desc.flex_at + desc.flex_elem, 0);
	ck_assert_uint_eq(desc.nfields, 6);
	ck_field(0, 0, 8);
	ck_field(1, offsetof(struct order, peers), 24);
	ck_field(2, 16, 8);
	ck_field(3, 24, 8);
	ck_field(4, offsetof(struct order, grid), 32);
	ck_field(5, offsetof(struct order, other), 8);
}
END_TEST

START_TEST(define_without_fields_scans)
{
	ck_assert_ptr_nonnull(heapd_type_define(heap, "order", struct order));
	ck_assert_uint_eq(desc.flags, HEAPD_TYPE_SCAN);
	ck_assert_uint_eq(desc.nfields, 0);
	ck_assert_ptr_nonnull(heapd_type_define_leaf(heap, "place", struct place));
	ck_assert_uint_eq(desc.flags, HEAPD_TYPE_NOSCAN);
	ck_assert_uint_eq(desc.align, 4);
	ck_assert_uint_eq(desc.nfields, 0);
}
END_TEST

struct big {
	heapd_ptr(void) a0;
	heapd_ptr(void) a1;
	heapd_ptr(void) a2;
	heapd_ptr(void) a3;
	heapd_ptr(void) a4;
	heapd_ptr(void) a5;
	heapd_ptr(void) a6;
	heapd_ptr(void) a7;
	heapd_ptr(void) rest[56];
};

START_TEST(define_64_fields)
{
	ck_assert_ptr_nonnull(heapd_type_define(
		heap, "big", struct big, a0, a1, a2, a3, a4, a5, a6, a7, rest[0], rest[1], rest[2], rest[3],
		rest[4], rest[5], rest[6], rest[7], rest[8], rest[9], rest[10], rest[11], rest[12], rest[13],
		rest[14], rest[15], rest[16], rest[17], rest[18], rest[19], rest[20], rest[21], rest[22],
		rest[23], rest[24], rest[25], rest[26], rest[27], rest[28], rest[29], rest[30], rest[31],
		rest[32], rest[33], rest[34], rest[35], rest[36], rest[37], rest[38], rest[39], rest[40],
		rest[41], rest[42], rest[43], rest[44], rest[45], rest[46], rest[47], rest[48], rest[49],
		rest[50], rest[51], rest[52], rest[53], rest[54], rest[55]));
	ck_assert_uint_eq(desc.nfields, 64);
	for (unsigned i = 0; i < 64; i++)
		ck_field(i, 8 * i, 8);
}
END_TEST

static void ck_flex(uint32_t flags, size_t at, uint32_t elem, size_t nfields)
{
	ck_assert_uint_eq(desc.flags, flags);
	ck_assert_uint_eq(desc.flex_at, at);
	ck_assert_uint_eq(desc.flex_elem, elem);
	ck_assert_uint_eq(desc.nfields, nfields);
}

START_TEST(flexible_arrays)
{
	ck_assert_ptr_nonnull(heapd_type_define_flex(heap, "node", struct node, kids, up));
	ck_flex(HEAPD_TYPE_FLEX | HEAPD_TYPE_FLEX_PTRS, 16, 8, 1);
	ck_field(0, 0, 8);
	ck_assert_ptr_nonnull(heapd_type_define_flex(heap, "node", struct node, kids));
	ck_flex(HEAPD_TYPE_FLEX | HEAPD_TYPE_FLEX_PTRS | HEAPD_TYPE_SCAN, 16, 8, 0);
	ck_assert_ptr_nonnull(heapd_type_define_flex(heap, "text", struct text, bytes));
	ck_flex(HEAPD_TYPE_FLEX | HEAPD_TYPE_SCAN, 2, 1, 0);
	ck_assert_ptr_nonnull(heapd_type_define_flex(heap, "numbers", struct numbers, n, owner));
	ck_flex(HEAPD_TYPE_FLEX, 8, 8, 1);
	ck_assert_ptr_nonnull(heapd_type_define_flex(heap, "pairs", struct pairs, list));
	ck_flex(HEAPD_TYPE_FLEX | HEAPD_TYPE_SCAN, 8, 16, 0);
	ck_assert_ptr_nonnull(heapd_type_define_leaf_flex(heap, "places", struct places, list));
	ck_flex(HEAPD_TYPE_FLEX | HEAPD_TYPE_NOSCAN, 4, 8, 0);
}
END_TEST

/* A structure in the flexible array decides by its alignment whether it may hold pointers. */
struct owned_places {
	heapd_ptr(struct node) owner;
	struct place list[];
};
struct owned_pairs {
	heapd_ptr(struct node) owner;
	struct pair list[];
};

START_TEST(flexible_arrays_of_structures)
{
	ck_assert_ptr_nonnull(heapd_type_define_flex(heap, "owned places", struct owned_places, list, owner));
	ck_flex(HEAPD_TYPE_FLEX, 8, 8, 1);
	ck_assert_ptr_nonnull(heapd_type_define_flex(heap, "owned pairs", struct owned_pairs, list, owner));
	ck_flex(HEAPD_TYPE_FLEX | HEAPD_TYPE_SCAN, 8, 16, 1);
}
END_TEST

START_TEST(allocation_hands_on_sizes)
{
	struct order *o = heapd_new(type, struct order);
	struct place *p = heapd_new_array(type, struct place, 9);
	struct node *n;
	struct order *root;

	ck_assert_ptr_eq(o, (void *)object);
	ck_assert_ptr_eq(p, (void *)object);
	ck_assert_ptr_eq(pointers[0], type);
	ck_assert_uint_eq(sizes[0], sizeof(struct place));
	ck_assert_uint_eq(sizes[1], 9);
	n = heapd_new_flex(type, struct node, kids, 5);
	ck_assert_ptr_eq(n, (void *)object);
	ck_assert_uint_eq(sizes[0], sizeof(struct node));
	ck_assert_uint_eq(sizes[1], offsetof(struct node, kids));
	ck_assert_uint_eq(sizes[2], 8);
	ck_assert_uint_eq(sizes[3], 5);
	root = heapd_root(heap, "shop", struct order, type);
	ck_assert_ptr_eq(root, (void *)object);
	ck_assert_ptr_eq(pointers[0], type);
	ck_assert_ptr_eq(pointers[1], heap);
	ck_assert_uint_eq(sizes[0], sizeof(struct order));
}
END_TEST

START_TEST(weak_references)
{
	heapd_weak *const weak = (heapd_weak *)(void *)&fields;
	struct order *got = heapd_weak_get(weak, struct order);
	struct heapd_event event = HEAPD_SIZED(event);

	ck_assert_ptr_eq(got, (void *)object);
	ck_assert_ptr_eq(pointers[0], weak);
	ck_assert_uint_eq(event.size, sizeof(event));
	ck_assert_int_eq(event.kind, 0);
}
END_TEST

START_TEST(pins_and_threads)
{
	struct order a = {};
	struct order **pin = heapd_pin(heap, &a);
	struct order *taken;
	pthread_t thread;

	ck_assert_ptr_eq(pin, (void *)object);
	ck_assert_ptr_eq(pointers[0], &a);
	pin = heapd_pin_field(heap, &a.next);
	ck_assert_ptr_eq(pointers[0], &a.next);
	taken = heapd_take(pin);
	ck_assert_ptr_eq(taken, (void *)object);
	ck_assert_ptr_eq(pointers[0], pin);
	ck_assert_int_eq(heapd_thread_create(heap, &thread, NULL, identity, &a), 0);
	ck_assert_ptr_eq(pointers[0], &thread);
	ck_assert_ptr_null(pointers[2]);
}
END_TEST

/*
 * The thread's gate, played by the test: _i says whether the barrier is on. If it is, the library
 * does the work, which in a process without an attachment is the store alone.
 */
static struct heapd_gate_ gate;

static void setup_gate(int on)
{
	gate.on = (uint32_t)on;
	gate.inside = 40;
	heapd_gate_ = &gate;
}

/* With the barrier on, nobody goes in here: the library does, by a gate of its thread's. */
#define ck_operations(n) ck_assert_uint_eq(gate.inside, 40 + 2 * (gate.on ? 0 : (n)))

START_TEST(stores)
{
	struct order a = {}, b = {};

	setup_gate(_i);
	heapd_store(&a.next, &b);
	ck_assert_ptr_eq(a.next, &b);
	heapd_store_relaxed(&a.next, NULL);
	ck_assert_ptr_null(a.next);
	heapd_store(&a.next, NONE);
	heapd_store(&a.grid[1][0], &b);
	ck_assert_ptr_eq(a.grid[1][0], &b);
	heapd_store(&a.label, "constant");
	ck_assert_str_eq(heapd_load(&a.label), "constant");
	ck_operations(5);
	heapd_init(&a.next, &a);
	ck_assert_ptr_eq(heapd_load(&a.next), &a);
	ck_assert_ptr_eq(heapd_load_relaxed(&a.next), &a);
	ck_operations(5);
}
END_TEST

START_TEST(exchanges)
{
	struct order a = {}, b = {}, *expected = NULL;

	setup_gate(_i);
	ck_assert(heapd_cas(&a.next, &expected, &b));
	ck_assert_ptr_null(expected);
	ck_assert(!heapd_cas(&a.next, &expected, &a));
	ck_assert_ptr_eq(expected, &b);
	ck_assert(heapd_cas_relaxed(&a.next, &expected, &a));
	ck_assert(!heapd_cas_relaxed(&a.next, &expected, NULL));
	ck_assert_ptr_eq(expected, &a);
	ck_assert_ptr_eq(heapd_exchange(&a.next, &b), &a);
	ck_assert_ptr_eq(heapd_exchange_relaxed(&a.next, NULL), &b);
	ck_assert_ptr_null(a.next);
	ck_operations(6);
}
END_TEST

/* Arguments are evaluated once, and calls may stand in each other's arguments. */
START_TEST(arguments_once)
{
	struct order list[4] = {}, *p = list, *expected = &list[3];

	setup_gate(_i);
	heapd_store(&p++->next, &list[3]);
	ck_assert_ptr_eq(p, &list[1]);
	heapd_store(&p->next, heapd_exchange(&list[0].next, heapd_load(&list[0].next)));
	ck_assert_ptr_eq(list[1].next, &list[3]);
	ck_assert(heapd_cas(&p++->next, &expected, NULL));
	ck_assert_ptr_eq(p++, &list[2]);
	ck_assert_ptr_null(heapd_load(&(--p)->next));
	ck_assert_ptr_eq(p, &list[2]);
	ck_assert_ptr_eq(heapd_untag(p++), &list[2]);
	ck_assert_ptr_eq(p, &list[3]);
}
END_TEST

START_TEST(moves)
{
	struct order a = {}, b = {}, c = {};

	setup_gate(_i);
	heapd_store(&a.peers[0], &b);
	heapd_store(&a.peers[1], &c);
	heapd_move(&a.peers[1], &a.peers[0], 2);
	ck_assert_ptr_eq(a.peers[1], &b);
	ck_assert_ptr_eq(a.peers[2], &c);
	heapd_zero(a.peers, 2);
	ck_assert_ptr_null(a.peers[0]);
	ck_assert_ptr_null(a.peers[1]);
	ck_assert_ptr_eq(a.peers[2], &c);
}
END_TEST

START_TEST(pinned)
{
	struct order a = {}, b = {}, *pin = &b;

	setup_gate(_i);
	heapd_store_pinned(&a.next, &pin);
	ck_assert_ptr_eq(a.next, &b);
}
END_TEST

START_TEST(tags)
{
	struct order a = {}, *tagged = heapd_tag(&a, 5);
	const char *const constant = "12345678";

	ck_assert_uint_eq((uintptr_t)tagged, (uintptr_t)&a + 5);
	ck_assert_uint_eq(heapd_tag_of(tagged), 5);
	ck_assert_ptr_eq(heapd_untag(tagged), &a);
	ck_assert_uint_eq(heapd_tag_of(&a), 0);
	ck_assert_uint_eq(heapd_tag_of(heapd_tag(&a, 8)), 0);
	ck_assert_ptr_eq(heapd_tag_sym(&a, 5), tagged);
	ck_assert_ptr_eq(heapd_untag_sym(tagged), &a);
	ck_assert_uint_eq(heapd_tag_of_sym(tagged), 5);
	ck_assert(heapd_untag(constant) <= constant);
	heapd_keep(&a);
	heapd_keep_sym(constant);
}
END_TEST

/* The functions behind the macros, as a binding calls them. */
START_TEST(functions_behind)
{
	void *word = NULL, *words[3] = { object, NULL, NULL }, *expected = NULL;

	setup_gate(0);
	heapd_init_sym(&word, object);
	ck_assert_ptr_eq(heapd_load_sym(&word), (void *)object);
	heapd_store_sym(&word, NULL);
	ck_assert_ptr_null(heapd_load_relaxed_sym(&word));
	heapd_store_relaxed_sym(&word, object);
	ck_assert_ptr_eq(heapd_exchange_sym(&word, NULL), (void *)object);
	ck_assert_ptr_null(heapd_exchange_relaxed_sym(&word, object));
	ck_assert(!heapd_cas_sym(&word, &expected, NULL));
	ck_assert(heapd_cas_relaxed_sym(&word, &expected, NULL));
	heapd_store_pinned_sym(&word, words);
	ck_assert_ptr_eq(word, (void *)object);
	heapd_move_sym(&words[1], &words[0], 2);
	heapd_zero_sym(words, 1);
	ck_assert_ptr_null(words[0]);
	ck_assert_ptr_eq(words[1], (void *)object);
}
END_TEST

START_TEST(structures_with_sizes)
{
	struct heapd_info info = HEAPD_SIZED(info);
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT, other = heapd_options_default();

	ck_assert_uint_eq(info.size, sizeof(info));
	ck_assert_uint_eq(info.committed, 0);
	ck_assert_uint_eq(options.size, sizeof(options));
	ck_assert_uint_eq(options.flags, 0);
	ck_assert_ptr_null(options.report_arg);
	ck_assert_uint_eq(other.size, sizeof(other));
	ck_assert_uint_eq(other.flags, 0);
}
END_TEST

static void add_tests(TCase *tests)
{
	tcase_add_test(tests, define_lists_fields);
	tcase_add_test(tests, define_without_fields_scans);
	tcase_add_test(tests, define_64_fields);
	tcase_add_test(tests, flexible_arrays);
	tcase_add_test(tests, flexible_arrays_of_structures);
	tcase_add_test(tests, allocation_hands_on_sizes);
	tcase_add_test(tests, weak_references);
	tcase_add_test(tests, pins_and_threads);
	tcase_add_loop_test(tests, stores, 0, 2);
	tcase_add_loop_test(tests, exchanges, 0, 2);
	tcase_add_loop_test(tests, arguments_once, 0, 2);
	tcase_add_loop_test(tests, moves, 0, 2);
	tcase_add_loop_test(tests, pinned, 0, 2);
	tcase_add_test(tests, tags);
	tcase_add_test(tests, functions_behind);
	tcase_add_test(tests, structures_with_sizes);
}

#ifdef __cplusplus
static void add_cxx_tests(TCase *tests);
#else
static void add_cxx_tests(TCase *tests)
{
	(void)tests;
}
#endif

int main(void)
{
	Suite *suite = suite_create("header");
	TCase *tests = tcase_create("header");

	add_tests(tests);
	add_cxx_tests(tests);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
