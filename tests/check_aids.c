/* SPDX-License-Identifier: MIT */
/*
 * Programs that break a rule and are told so: objects freed too early (Free=checked), or used after they were freed
 * (Debug=poison), and fields that hold what is not in the heap.
 */
#include "collected.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

struct node {
	heapd_ptr(struct node) next;
	uint64_t value;
	heapd_ptr(char) note;
	uint64_t pad[5];
};

static heapd_type *nodes;

static void aids_start(const char *setting)
{
	const char *const settings[] = { "heap.test.GCPercent=100", "heap.test.GCInterval=off", setting,
					 NULL };

	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	nodes = heapd_type_define(heap, "node", struct node, next, note);
	ck_assert_ptr_nonnull(nodes);
}

static void setup_prompt(void)
{
	aids_start(NULL);
}

static void setup_checked(void)
{
	aids_start("heap.test.Free=checked");
}

static struct node *node_new(uint64_t value, struct node *next)
{
	struct node *n = heapd_new(nodes, struct node);

	ck_assert_msg(n != NULL, "%s", heapd_error());
	n->value = value;
	heapd_init(&n->next, next);
	return n;
}

static const struct heapd_stats *stats(void)
{
	return &heap->t.directory->stats;
}

static struct heapd_verify_result verified(void)
{
	struct heapd_verify_result v = HEAPD_SIZED(v);

	ck_assert_msg(heapd_verify(heap, &v) == 0, "%s", v.first);
	return v;
}

static unsigned logged_times(const char *text)
{
	char *log = fixture_log(&fixture);
	unsigned n = 0;

	for (const char *at = log; (at = strstr(at, text)); at++)
		n++;
	free(log);
	return n;
}

static __attribute__((noinline)) void list_drop_and_free(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ck_call(heapd_free(node_new(i, NULL)));
}

START_TEST(freed_and_unreachable_comes_back)
{
	collect();
	uint64_t before = verified().allocated;

	list_drop_and_free(10000);
	ck_call(heapd_sync(heap));
	ck_assert_uint_ge(verified().freed_pending, 9000 * sizeof(struct node));
	collect();
	ck_assert_uint_le(verified().allocated, before + 4096);
	ck_assert_uint_le(verified().freed_pending, 4096);
	ck_assert_uint_eq(HEAPD_READ_ONCE(stats()->gc_early_frees), 0);
}
END_TEST

static void reuse_much(void)
{
	for (unsigned i = 0; i < 20000; i++)
		node_new(0xbad, NULL);
}

START_TEST(freed_and_reachable_is_kept_and_told_of)
{
	struct node *a = node_new(4711, NULL), *b = node_new(4712, a);
	char wanted[200];

	ck_call(heapd_root_set(heap, "b", b));
	ck_call(heapd_free(a));
	for (unsigned i = 0; i < 3; i++) {
		collect();
		reuse_much();
	}
	a = b->next;
	ck_assert_uint_eq(a->value, 4711);
	ck_assert_uint_eq(HEAPD_READ_ONCE(stats()->gc_early_frees), 1);
	snprintf(
		wanted, sizeof(wanted),
		"node 0x%lx (64 bytes) was freed while still reachable, and is kept: root \"b\" -> node+0 -> node 0x%lx",
		(unsigned long)(uintptr_t)a, (unsigned long)(uintptr_t)a);
	ck_assert(fixture_logged(&fixture, wanted));
	ck_assert_uint_eq(logged_times("was freed while still reachable"), 1);
	/* It is an object as any other: it can be freed again. */
	heapd_store(&b->next, NULL);
	ck_call(heapd_free(a));
	ck_assert_int_eq(heapd_free(a), -EALREADY);
}
END_TEST

/* Counts as this thread's stack. */
static struct node *local_words[4];

static __attribute__((noinline)) void local_hold(void)
{
	ck_call(heapd_local_add(heap, local_words, sizeof(local_words)));
	local_words[1] = node_new(4711, NULL);
	ck_call(heapd_free(local_words[1]));
}

static __attribute__((noinline)) uint64_t local_value(void)
{
	return local_words[1]->value;
}

/* Kept, since the collector cannot know, and not told of; it comes back when the stack has let go. */
START_TEST(what_a_stack_alone_holds_is_looked_at_again)
{
	local_hold();
	for (unsigned i = 0; i < 3; i++) {
		collect();
		reuse_much();
		ck_assert_uint_eq(local_value(), 4711);
	}
	ck_assert_uint_eq(HEAPD_READ_ONCE(stats()->gc_early_frees), 0);
	ck_assert_uint_ge(verified().freed_pending, 64);
	local_words[1] = NULL;
	collect();
	ck_assert_uint_eq(verified().freed_pending, 0);
}
END_TEST

static struct node *freed_twice;

START_TEST(a_double_free_is_told_at_once)
{
	freed_twice = node_new(1, NULL);
	ck_call(heapd_free(freed_twice));
	ck_refused(heapd_free(freed_twice), EALREADY, "double free");
	collect();
	ck_refused(heapd_free(freed_twice), EALREADY, "double free");
}
END_TEST

/* Beside it: what was freed comes back without a collection. */
START_TEST(prompt_frees_need_no_collection)
{
	uint64_t before = verified().allocated;

	list_drop_and_free(10000);
	ck_call(heapd_sync(heap));
	ck_assert_uint_le(verified().allocated, before + 4096);
	ck_assert_uint_eq(HEAPD_READ_ONCE(heap->t.directory->cycle.finished), 0);
}
END_TEST

static void setup_poison(void)
{
	aids_start("heap.test.Debug=poison");
}

#define LARGE (1ul << 20)

static bool is_poison(uint64_t disguised, size_t bytes)
{
	const uint64_t *words =
		(const uint64_t *)(uintptr_t)~disguised; /* NOLINT(performance-no-int-to-ptr) */

	for (size_t i = 0; i < bytes / 8; i++)
		if (words[i] != HEAPD_POISON_WORD)
			return false;
	return true;
}

/* Their addresses in disguise: no scan takes them for pointers. */
static uint64_t lost[1001];

static __attribute__((noinline)) void lose_some(void)
{
	for (unsigned i = 0; i < 1000; i++)
		lost[i] = ~(uint64_t)(uintptr_t)node_new(i, NULL);
	lost[1000] = ~(uint64_t)(uintptr_t)heapd_alloc(heap, LARGE);
}

START_TEST(what_the_sweep_takes_is_poisoned)
{
	lose_some();
	ck_assert(!is_poison(lost[5], sizeof(struct node)));
	collect();
	collect();
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_msg(is_poison(lost[i], sizeof(struct node)), "%u of 1000", i);
	ck_assert(is_poison(lost[1000], LARGE));
}
END_TEST

START_TEST(what_is_harvested_is_poisoned)
{
	uint64_t *large = heapd_alloc(heap, LARGE);

	ck_assert_ptr_nonnull(large);
	ck_call(heapd_free(large));
	ck_call(heapd_sync(heap));
	ck_assert(is_poison(~(uint64_t)(uintptr_t)large, LARGE));
}
END_TEST

static bool is_zero(const void *object, size_t bytes)
{
	const uint64_t *words = (const uint64_t *)object;

	for (size_t i = 0; i < bytes / 8; i++)
		if (words[i])
			return false;
	return true;
}

/* Sizes that are cut from zeroed memory, and those that are not. */
START_TEST(poison_is_never_given_out)
{
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 3000; i++) {
			size_t bytes = i % 100 ? 16u << (i % 10) : LARGE;
			void *object = heapd_alloc_leaf(heap, bytes);
			ck_assert_msg(object != NULL, "%s", heapd_error());
			ck_assert_msg(is_zero(object, bytes), "round %u: %zu bytes", round, bytes);
			memset(object, 0x11, bytes);
			if (i % 3 == 0)
				ck_call(heapd_free(object));
		}
		collect();
	}
}
END_TEST

static void foreign_is(const char *key, const char *wanted)
{
	char value[128];

	ck_call(heapd_get(heap, key, value, sizeof(value)));
	ck_assert_str_eq(value, wanted);
}

/* Five nodes, of which two are reachable; both have a note outside of the heap, and the second a next one. */
static __attribute__((noinline)) void foreign_make(void)
{
	static char literal[] = "rush";
	struct node *list = NULL;

	for (unsigned i = 0; i < 5; i++) {
		list = node_new(i, list);
		heapd_init(&list->note, literal);
	}
	memcpy(&list->next->next, &(char *){ literal }, 8); /* the list ends there */
	ck_call(heapd_root_set(heap, "list", list));
}

START_TEST(foreign_words_are_counted_by_field)
{
	collect();
	foreign_is("foreign", "");
	foreign_make();
	collect();
	foreign_is("foreign", "node: 3");
	foreign_is("foreign.node", "offset 0: 1, offset 16: 2");
	foreign_is("foreign.(any)", "");
	char value[128];
	ck_refused(heapd_get(heap, "foreign.nothing", value, sizeof(value)), ENOENT, "no type 'nothing'");
	ck_assert_uint_eq(HEAPD_READ_ONCE(stats()->gc_foreign), 3);
	ck_assert(fixture_logged(&fixture, "type 'node', offset 16: 2 fields hold what is neither NULL nor"));
	collect();
	foreign_is("foreign.node", "offset 0: 1, offset 16: 2");
	ck_assert_uint_eq(logged_times("type 'node', offset 16"), 1);
	heapd_store(&((struct node *)heapd_root_get(heap, "list", nodes))->note, NULL);
	collect();
	foreign_is("foreign.node", "offset 0: 1, offset 16: 1");
}
END_TEST

static void setup_stress(void)
{
	aids_start("heap.test.Debug=stress,poison");
}

START_TEST(stress_collects_all_the_time)
{
	struct node **pin = (struct node **)heapd_pin(heap, node_new(1, NULL));
	uint64_t end = fixture_now_ns() + 20000000000ull, before = HEAPD_READ_ONCE(stats()->gc_cycles[6]);

	while (HEAPD_READ_ONCE(stats()->gc_cycles[6]) < before + 20) {
		ck_assert_uint_lt(fixture_now_ns(), end);
		for (unsigned i = 0; i < 100; i++)
			heapd_store(pin, node_new(i, i ? *pin : NULL));
		for (uint64_t i = 100; i--;) {
			ck_assert_uint_eq((*pin)->value, i);
			heapd_store(pin, (*pin)->next);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("aids");
	TCase *checked = tcase_create("checked"), *prompt = tcase_create("prompt"),
	      *poison = tcase_create("poison"), *stress = tcase_create("stress");

	tcase_set_timeout(checked, 60);
	tcase_add_checked_fixture(checked, setup_checked, attached_stop);
	tcase_add_test(checked, freed_and_unreachable_comes_back);
	tcase_add_test(checked, freed_and_reachable_is_kept_and_told_of);
	tcase_add_test(checked, what_a_stack_alone_holds_is_looked_at_again);
	tcase_add_test(checked, a_double_free_is_told_at_once);
	suite_add_tcase(suite, checked);
	tcase_add_test(prompt, prompt_frees_need_no_collection);
	tcase_add_test(prompt, foreign_words_are_counted_by_field);
	tcase_add_checked_fixture(poison, setup_poison, attached_stop);
	tcase_add_test(poison, what_the_sweep_takes_is_poisoned);
	tcase_add_test(poison, what_is_harvested_is_poisoned);
	tcase_add_test(poison, poison_is_never_given_out);
	suite_add_tcase(suite, poison);
	tcase_set_timeout(stress, 60);
	tcase_add_checked_fixture(stress, setup_stress, attached_stop);
	tcase_add_test(stress, stress_collects_all_the_time);
	suite_add_tcase(suite, stress);
	tcase_add_checked_fixture(prompt, setup_prompt, attached_stop);
	return attached_run(prompt, suite);
}
