/* SPDX-License-Identifier: MIT */
/*
 * heapctl histo: objects by class, type and age. An age is the number of collections that have found the object
 * reachable since its slot was given out: exact for what was made while none was under way.
 */
#include "collected.h"
#include "tool.h"

#define KEPT 3000u
#define MORE 500u

struct node {
	heapd_ptr(struct node) next;
	uint64_t rest[15];
};

static heapd_type *nodes;

static void nodes_add(struct node *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct node *new = heapd_new(nodes, struct node);

		ck_assert_ptr_nonnull(new);
		heapd_init(&new->next, heapd_load(&list->next));
		heapd_store(&list->next, new);
	}
}

/* Objects of the type that are of that age, of those that roots lead to; -1: of any. */
static uint64_t aged(int age)
{
	char *json = tool_run(0, "--no-gc --live --age histo");
	uint64_t n = 0;

	for (const char *at = json; (at = tool_next(at, "type", "node"));) {
		if (age < 0 || tool_number(at, "age") == (uint64_t)age)
			n += tool_number(at, "objects");
		ck_assert_uint_eq(tool_number(at, "bytes"), tool_number(at, "objects") * sizeof(struct node));
	}
	free(json);
	return n;
}

static struct node *list_make(void)
{
	struct node *list = heapd_root(heap, "list", struct node, nodes);

	ck_assert_ptr_nonnull(list);
	return list;
}

START_TEST(collections_that_found_it_are_counted)
{
	struct node *list = list_make();

	nodes_add(list, KEPT);
	ck_assert_uint_eq(aged(0), 1 + KEPT);
	for (int i = 1; i <= 3; i++) {
		collect();
		ck_assert_uint_eq(aged(i), 1 + KEPT);
	}
	nodes_add(list, MORE);
	ck_assert_uint_eq(aged(0), MORE);
	for (int i = 1; i <= 4; i++) {
		collect();
		ck_assert_uint_eq(aged(3 + i), 1 + KEPT);
		ck_assert_uint_eq(aged(i), MORE);
	}
	/* The last age stands for all that are higher. */
	for (int i = 0; i < 10; i++)
		collect();
	ck_assert_uint_eq(aged(7), 1 + KEPT + MORE);
	ck_assert_uint_eq(aged(-1), 1 + KEPT + MORE);
}
END_TEST

/* Where old objects were, new ones begin anew. */
START_TEST(a_slot_begins_anew)
{
	struct node *list = list_make();

	nodes_add(list, KEPT);
	for (int i = 0; i < 5; i++)
		collect();
	ck_assert_uint_eq(aged(5), 1 + KEPT);
	heapd_store(&list->next, NULL);
	collect();
	collect();
	ck_assert_uint_eq(aged(-1), 1);
	nodes_add(list, KEPT);
	ck_assert_uint_eq(aged(0), KEPT);
	ck_assert_uint_eq(aged(7), 1);
	collect();
	ck_assert_uint_eq(aged(1), KEPT);
}
END_TEST

static uint64_t given_out(void)
{
	char *given = tool_run(0, "histo");
	uint64_t n = tool_number(tool_next(given, "type", "node"), "objects");

	free(given);
	return n;
}

static uint64_t sum_by_age(void)
{
	char *by_age = tool_run(0, "--age histo");
	uint64_t objects = 0;

	for (const char *at = by_age; (at = tool_next(at, "type", "node"));)
		objects += tool_number(at, "objects");
	free(by_age);
	return objects;
}

/*
 * By age or not, and what is given out or only what lives: the sums are the same, or not less. In between the daemon may take back
 * what lies in rings, which is given out: then it is looked again.
 */
START_TEST(sums_agree)
{
	struct node *list = list_make();
	uint64_t objects, given;
	unsigned looked = 0;
	char *plain;

	nodes_add(list, KEPT);
	collect();
	nodes_add(list, MORE);
	collect();
	plain = tool_run(0, "--no-gc --live histo");
	ck_assert_uint_eq(tool_number(tool_next(plain, "type", "node"), "objects"), 1 + KEPT + MORE);
	ck_assert_ptr_null(tool_value(tool_next(plain, "type", "node"), "age"));
	do {
		given = given_out();
		objects = sum_by_age();
	} while (given != given_out() && ++looked < 20);
	ck_assert_uint_eq(objects, given);
	ck_assert_uint_ge(objects, 1 + KEPT + MORE);
	free(plain);
}
END_TEST

static void start(void)
{
	static const char *const settings[] = { "heap.test.GCPercent=1000", "heap.test.GCInterval=off",
						NULL };

	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	nodes = heapd_type_define(heap, "node", struct node, next);
	ck_assert_ptr_nonnull(nodes);
}

int main(void)
{
	TCase *tcase = tcase_create("histo");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, start, attached_stop);
	tcase_add_test(tcase, collections_that_found_it_are_counted);
	tcase_add_test(tcase, a_slot_begins_anew);
	tcase_add_test(tcase, sums_agree);
	return attached_run(tcase, suite_create("histo"));
}
