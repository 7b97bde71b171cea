/* SPDX-License-Identifier: MIT */
/*
 * heapctl leaks: what grows from collection to collection, by type, by root and by the site that allocated it, while this
 * process has a list that grows, another that does not, and makes garbage.
 */
#include "collected.h"
#include "tool.h"

#include <pthread.h>
#include <unistd.h>

#define STILL 1000u
#define LOT   64u /* at once: the growing list is longer, and garbage comes */

struct node {
	heapd_ptr(struct node) next;
	uint64_t rest[15];
};
struct thing {
	heapd_ptr(struct thing) next;
	uint64_t rest[15];
};

static heapd_type *nodes, *things;
static struct leaker {
	pthread_t thread;
	_Atomic bool stop;
	_Atomic unsigned lots;
} leaker;

__attribute__((noinline)) static void leak_nodes(struct node *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct node *new = heapd_new(nodes, struct node);

		ck_assert_ptr_nonnull(new);
		heapd_init(&new->next, heapd_load(&list->next));
		heapd_store(&list->next, new);
	}
	__asm__ volatile("");
}

__attribute__((noinline)) static void churn_things(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ck_assert_ptr_nonnull(heapd_new(things, struct thing));
	__asm__ volatile("");
}

static void *leak(void *arg)
{
	struct node *list = heapd_root_get(heap, "growing", nodes);

	(void)arg;
	while (!atomic_load(&leaker.stop)) {
		leak_nodes(list, LOT);
		churn_things(LOT);
		atomic_fetch_add(&leaker.lots, 1);
		usleep(2000);
	}
	return NULL;
}

static void leaker_start(void)
{
	ck_assert_int_eq(pthread_create(&leaker.thread, NULL, leak, NULL), 0);
	while (!atomic_load(&leaker.lots))
		usleep(1000);
}

static void leaker_end(void)
{
	atomic_store(&leaker.stop, true);
	pthread_join(leaker.thread, NULL);
}

static const char *steady(const char *json, const char *key, const char *value)
{
	const char *row = tool_next(json, key, value);

	ck_assert_msg(row != NULL, "no %s in %s", value, json);
	ck_assert_msg(tool_number(row, "grew") > 0 && tool_value(row, "steady") &&
			      strncmp(tool_value(row, "steady"), "true", 4) == 0,
		      "%s does not grow steadily: %s", value, json);
	ck_assert_uint_eq(tool_number(row, "after") - tool_number(row, "before"), tool_number(row, "grew"));
	return row;
}

START_TEST(by_type)
{
	char *json;

	leaker_start();
	json = tool_run(1, "leaks 3 1");
	leaker_end();
	steady(json, "type", "node");
	free(json);
}
END_TEST

START_TEST(by_root)
{
	uint64_t after;
	char *json;

	leaker_start();
	json = tool_run(1, "--by=root leaks 3 1");
	leaker_end();
	after = (1 + (uint64_t)atomic_load(&leaker.lots) * LOT) * sizeof(struct node);
	ck_assert_uint_le(tool_number(steady(json, "root", "root growing"), "after"), after);
	ck_assert_uint_gt(tool_number(steady(json, "root", "root growing"), "grew"), 0);
	ck_assert_msg(!tool_next(json, "root", "root still"), "%s", json);
	free(json);
}
END_TEST

START_TEST(by_site)
{
	const char *leaking = NULL, *churning = NULL;
	char *json;

	ck_call(heapd_set(heap, "sample.bytes", "4096"));
	leaker_start();
	json = tool_run(1, "--by=site leaks 4 1");
	leaker_end();
	for (const char *at = json; (at = strchr(at + 1, '{'));) {
		const char *stack = tool_value(at, "stack");

		if (stack && strncmp(stack, "\"leak_nodes < leak", 18) == 0)
			leaking = at;
		if (stack && strncmp(stack, "\"churn_things", 13) == 0)
			churning = at;
	}
	ck_assert_msg(leaking != NULL, "%s", json);
	ck_assert_msg(strncmp(tool_value(leaking, "steady"), "true", 4) == 0, "%s", json);
	ck_assert(tool_is(leaking, "type", "node"));
	/* Of what is garbage little lives when it is looked at. */
	ck_assert(!churning || tool_number(churning, "grew") * 4 < tool_number(leaking, "grew"));
	free(json);
}
END_TEST

/* After the second collection, then no more. */
static void *leak_once(void *arg)
{
	struct node *list = heapd_root_get(heap, "growing", nodes);

	(void)arg;
	atomic_store(&leaker.lots, 1);
	while (HEAPD_READ_ONCE(heap->t.directory->cycle.finished) < 2)
		usleep(1000);
	leak_nodes(list, LOT);
	return NULL;
}

START_TEST(what_grew_once_is_not_steady)
{
	char *json;

	ck_assert_int_eq(pthread_create(&leaker.thread, NULL, leak_once, NULL), 0);
	json = tool_run(0, "--by=root leaks 3 1");
	pthread_join(leaker.thread, NULL);
	ck_assert_msg(!tool_next(json, "steady", "true"), "%s", json);
	free(json);
}
END_TEST

/* Nothing grows while nobody does anything, whatever one goes by. */
START_TEST(nothing_grows)
{
	static const char *const by[] = { "leaks 5 0", "--by=root leaks 5 0" };

	collect();
	for (unsigned i = 0; i < 2; i++) {
		char *json = tool_run(0, by[i]);

		ck_assert_msg(!tool_next(json, "steady", "true"), "%s", json);
		free(json);
	}
	free(tool_run(2, "--by=nothing leaks 2 0"));
}
END_TEST

static __attribute__((noinline)) void lists_make(void)
{
	struct node *still = heapd_root(heap, "still", struct node, nodes);

	ck_assert_ptr_nonnull(heapd_root(heap, "growing", struct node, nodes));
	ck_assert_ptr_nonnull(still);
	leak_nodes(still, STILL);
}

static void start(void)
{
	static const char *const settings[] = { "heap.test.GCPercent=1000", "heap.test.GCInterval=off",
						NULL };

	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	nodes = heapd_type_define(heap, "node", struct node, next);
	things = heapd_type_define(heap, "thing", struct thing, next);
	ck_assert(nodes && things);
	lists_make();
	stack_wipe();
}

int main(void)
{
	TCase *tcase = tcase_create("leaks");

	tcase_set_timeout(tcase, 90);
	tcase_add_checked_fixture(tcase, start, attached_stop);
	tcase_add_test(tcase, by_type);
	tcase_add_test(tcase, by_root);
	if (geteuid() == 0)
		tcase_add_test(tcase, by_site);
	else
		printf("SKIP by_site: needs root, to load a BPF program\n");
	tcase_add_test(tcase, what_grew_once_is_not_steady);
	tcase_add_test(tcase, nothing_grows);
	return attached_run(tcase, suite_create("leaks"));
}
