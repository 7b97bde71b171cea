/* SPDX-License-Identifier: MIT */
/*
 * What the roots lead to, with a real daemon: the verification's exact trace against the marker's work (I5, I6) on
 * random graphs of all kinds of objects, and paths from roots to objects.
 */
#include "drawn.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define GRAPH 4000u
#define ROOTS 20u

static void setup(void)
{
	static const char *const settings[] = { "heap.test.GCPercent=100", "heap.test.GCInterval=off", NULL };

	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	/* However long the daemon takes: the test's own limit ends what hangs. */
	options.supply_timeout_ms = options.request_timeout_ms = 3600000;
	seed = fixture_seed() | 1;
	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	types_define();
}

static struct heapd_verify_result verified(void)
{
	struct heapd_verify_result v = HEAPD_SIZED(v);

	ck_assert_msg(heapd_verify(heap, &v) == 0, "%s%s", v.first, heapd_error());
	return v;
}

/* What the roots lead to is drawn as well; most is garbage when this process has ended. */
static int graph_build(void *arg)
{
	static size_t n[GRAPH];

	(void)arg;
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	types_define();
	struct node ***table = (struct node ***)heapd_alloc(heap, GRAPH * 8);
	for (size_t i = 0; i < GRAPH; i++)
		heapd_store(&table[i], object_draw(&n[i]));
	for (size_t i = 0; i < GRAPH; i++) {
		size_t from = random_next(&seed) % GRAPH, at = (random_next(&seed) % n[from]) | 1;
		heapd_store(&table[from][at], (struct node *)(void *)table[random_next(&seed) % GRAPH]);
	}
	for (unsigned i = 0; i < ROOTS; i++) {
		void *object = table[random_next(&seed) % GRAPH];
		char name[16];
		snprintf(name, sizeof(name), "root%u", i);
		ck_call(heapd_root_set(heap, name, object));
	}
	return 0;
}

/* Nothing unreachable is left, nothing reachable is gone: the exact trace and the marker say the same. */
START_TEST(two_collections_leave_what_is_reachable)
{
	struct heapd_verify_result v;

	fixture_wait(fixture_client_fork(graph_build, NULL), 0);
	verified();
	ck_call(heapd_collect(heap));
	ck_call(heapd_collect(heap));
	v = verified();
	/* Some was garbage, whether these two cycles took it back or one for the dead, before them. */
	ck_assert_uint_gt(HEAPD_READ_ONCE(heap->t.directory->stats.gc_freed_objects), 0);
	ck_assert_uint_eq(v.allocated, v.reachable);
	ck_assert_uint_gt(v.reachable_objects, ROOTS);
	ck_assert_uint_eq(v.dangling, 0);
	ck_assert_uint_eq(HEAPD_READ_ONCE(heap->t.directory->stats.gc_live), v.reachable);
	ck_assert_uint_eq(HEAPD_READ_ONCE(heap->t.directory->stats.gc_live_objects), v.reachable_objects);
}
END_TEST

static struct node *node_new(struct node *left)
{
	struct node *n = heapd_new(nodes, struct node);

	ck_assert_msg(n != NULL, "%s", heapd_error());
	heapd_init(&n->left, left);
	return n;
}

static void path_is(const void *object, const char *wanted)
{
	char text[512], whole[600];

	ck_call(heapd_path_to(heap, object, text, sizeof(text)));
	snprintf(whole, sizeof(whole), "%s 0x%lx", wanted, (unsigned long)(uintptr_t)object);
	ck_assert_str_eq(text, whole);
}

START_TEST(paths_name_each_root)
{
	struct node *a = node_new(NULL), *b = node_new(a), *c = node_new(NULL);
	char text[HEAPD_TICKET_SIZE], wanted[100];

	heapd_store(&c->right, b);
	ck_call(heapd_root_set(heap, "shop", c));
	path_is(c, "root \"shop\" -> node");
	path_is(a, "root \"shop\" -> node+24 -> node+8 -> node");
	ck_call(heapd_root_set(heap, "shop", NULL));
	struct node **pin = (struct node **)heapd_pin(heap, b);
	snprintf(wanted, sizeof(wanted), "a pin of process %d -> node+8 -> node", getpid());
	path_is(a, wanted);
	heapd_unpin(pin);
	ck_call(heapd_ticket_issue(heap, b, text, sizeof(text), 60));
	path_is(b, "a ticket -> node");
}
END_TEST

START_TEST(a_stack_is_the_last_resort)
{
	struct node *a = node_new(NULL);
	char text[512], wanted[100];

	ck_call(heapd_collect(heap));
	ck_call(heapd_path_to(heap, a, text, sizeof(text)));
	snprintf(wanted, sizeof(wanted), "a stack of process %d (published in cycle ", getpid());
	ck_assert_msg(strstr(text, wanted) == text, "%s", text);
	struct node **pin = (struct node **)heapd_pin(heap, a);
	ck_call(heapd_path_to(heap, a, text, sizeof(text)));
	ck_assert_msg(strstr(text, "a pin of process") == text, "%s", text);
	heapd_unpin(pin);
	heapd_keep(a);
}
END_TEST

START_TEST(nothing_keeps_it)
{
	struct node *a = node_new(NULL);
	char text[512];

	ck_refused(heapd_path_to(heap, a, text, sizeof(text)), ENOENT, "nothing keeps");
	ck_refused(heapd_path_to(heap, text, text, sizeof(text)), EINVAL, "lies in no object");
	ck_refused(heapd_path_to(heap, (char *)a + 900000000, text, sizeof(text)), EINVAL,
		   "lies in no object");
}
END_TEST

static __attribute__((noinline)) uint64_t node_lose(void)
{
	return ~(uint64_t)(uintptr_t)node_new(NULL);
}

/* What has died and waits to be taken is kept by its queue, and counts as reachable. */
START_TEST(the_queue_of_the_dead_keeps)
{
	uint64_t disguised, words[4096] = { 0 };
	struct heapd_verify_result v;

	ck_call(heapd_type_watch_dead(nodes));
	v = verified();
	disguised = node_lose();
	__asm__ volatile("" : : "r"(words) : "rbx", "r12", "r13", "r14", "r15", "memory");
	ck_call(heapd_collect(heap));
	ck_call(heapd_collect(heap));
	ck_assert_uint_eq(verified().reachable_objects, v.reachable_objects + 1);
	path_is((void *)(uintptr_t)~disguised, "the queue of dead objects -> node");
}
END_TEST

START_TEST(long_paths_lose_their_middle)
{
	struct node *last = node_new(NULL), *list = last;
	char text[1024], wanted[100];

	for (unsigned i = 0; i < 1000; i++)
		list = node_new(list);
	ck_call(heapd_root_set(heap, "list", list));
	ck_call(heapd_path_to(heap, last, text, sizeof(text)));
	ck_assert_msg(strstr(text, "root \"list\" -> ... 9") == text, "%s", text);
	snprintf(wanted, sizeof(wanted), " more ... -> node+8 -> node+8");
	ck_assert_msg(strstr(text, wanted) != NULL, "%s", text);
	snprintf(wanted, sizeof(wanted), " -> node 0x%lx", (unsigned long)(uintptr_t)last);
	ck_assert_msg(strstr(text, wanted) == text + strlen(text) - strlen(wanted), "%s", text);
	ck_assert_int_eq(heapd_path_to(heap, last, text, 20), 19);
	ck_assert_uint_eq(strlen(text), 19);
}
END_TEST

/* What a program freed by hand too early is told of, and is no fault of the heap's. */
START_TEST(a_freed_object_in_a_field_dangles)
{
	struct node *a = node_new(NULL), *b = node_new(a);
	struct heapd_verify_result v;
	char wanted[100];

	ck_call(heapd_root_set(heap, "b", b));
	ck_assert_uint_eq(verified().dangling, 0);
	ck_call(heapd_free(a));
	ck_call(heapd_sync(heap));
	v = verified();
	ck_assert_uint_eq(v.dangling, 1);
	snprintf(wanted, sizeof(wanted), "the field at offset 8 of node 0x%lx points to 0x%lx, which is free",
		 (unsigned long)(uintptr_t)b, (unsigned long)(uintptr_t)a);
	ck_assert_str_eq(v.dangling_first, wanted);
	heapd_store(&b->left, NULL);
	ck_assert_uint_eq(verified().dangling, 0);
}
END_TEST

/* Objects that are in a pin, then in nothing, then free. */
static void *freer_main(void *arg)
{
	_Atomic bool *stop = (_Atomic bool *)arg;

	while (!atomic_load_explicit(stop, memory_order_relaxed)) {
		struct node **pin = heapd_pin(heap, node_new(NULL));
		ck_call(heapd_free(heapd_take(pin)));
	}
	return NULL;
}

/* While a long list is followed, the pins that were looked at before it let go of their objects, which are freed. */
START_TEST(what_is_let_go_of_and_freed_meanwhile_does_not_dangle)
{
	struct node *list = NULL;
	_Atomic bool stop = false;
	pthread_t thread;

	for (unsigned i = 0; i < 50000; i++)
		list = node_new(list);
	ck_call(heapd_root_set(heap, "list", list));
	ck_assert_int_eq(pthread_create(&thread, NULL, freer_main, &stop), 0);
	for (unsigned i = 0; i < 50; i++) {
		struct heapd_verify_result v = verified();
		ck_assert_msg(!v.dangling, "%s", v.dangling_first);
		ck_assert_uint_ge(v.reachable_objects, 50000);
	}
	stop = true;
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("reach");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, attached_stop);
	tcase_add_loop_test(tcase, two_collections_leave_what_is_reachable, 0, 5);
	tcase_add_test(tcase, paths_name_each_root);
	tcase_add_test(tcase, a_stack_is_the_last_resort);
	tcase_add_test(tcase, nothing_keeps_it);
	tcase_add_test(tcase, the_queue_of_the_dead_keeps);
	tcase_add_test(tcase, long_paths_lose_their_middle);
	tcase_add_test(tcase, a_freed_object_in_a_field_dangles);
	tcase_add_test(tcase, what_is_let_go_of_and_freed_meanwhile_does_not_dangle);
	return attached_run(tcase, suite_create("reach"));
}
