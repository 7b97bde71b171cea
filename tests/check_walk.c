/* SPDX-License-Identifier: MIT */
/*
 * heapctl's walks through a heap: they meet what the collector marked; each object retains what memlab, which is somebody
 * else's, finds that it retains in our snapshot; and what heapctl holds in memory does not grow with the heap.
 *
 * HEAPD_WALK_OBJECTS says how many objects the latter has: 10000000 take 3 GiB of memory, as much of /var/tmp, and minutes.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "collected.h"

#define GRAPH  4000u
#define ROOTS  12u
#define PINS   20u
#define LENGTH 2000u

struct node {
	uint64_t number; /* no pointer, whatever it looks like */
	heapd_ptr(struct node) left;
	uint64_t more;
	heapd_ptr(struct node) right;
};

static char tool[512];
static uint64_t seed;
static heapd_type *nodes;

static uint64_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void start(const char *const settings[])
{
	seed = fixture_seed() | 1;
	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	nodes = heapd_type_define(heap, "node", struct node, left, right);
	ck_assert_ptr_nonnull(nodes);
}

static void start_small(void)
{
	static const char *const settings[] = { "heap.test.GCPercent=1000", "heap.test.GCInterval=off",
						NULL };

	start(settings);
}

/* By the shell; its exit status. */
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
	char command[2048];
	va_list args;
	int status;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	status = system(command);
	ck_assert_msg(status >= 0 && WIFEXITED(status), "%s: status %d", command, status);
	return WEXITSTATUS(status);
}

/* A graph with all kinds of objects --------------------------------------------------------------------------------- */

/* An object of a kind drawn at random, of *n words: in each kind, odd words are fields. */
static struct node **object_draw(size_t *n)
{
	size_t many = 4 + 2 * (draw() % 20);
	void *o;

	*n = many;
	switch (draw() % 6) {
	case 0:
		*n = many * 4;
		o = heapd_new_array(nodes, struct node, many);
		break;
	case 1:
		o = heapd_alloc(heap, many * 8);
		break;
	case 2:
		o = heapd_alloc_leaf(heap, many * 8);
		break;
	case 3:
		*n = draw() % 8 ? many : 5000;
		o = heapd_alloc(heap, *n * 8);
		break;
	default:
		*n = 4;
		o = heapd_new(nodes, struct node);
	}
	ck_assert_msg(o != NULL, "%s", heapd_error());
	return (struct node **)o;
}

/* So that much hangs on little: most objects have one or two that lead to them, near ones. */
static void __attribute__((noinline)) graph_build(void)
{
	struct node ***table = (struct node ***)heapd_alloc(heap, GRAPH * 8ul);
	static size_t n[GRAPH];
	char name[16];

	for (size_t i = 0; i < GRAPH; i++)
		heapd_store(&table[i], object_draw(&n[i]));
	for (size_t i = 1; i < GRAPH; i++)
		for (size_t k = 2 + draw() % 2; k; k--) {
			size_t from = draw() % 3 ? i - 1 - draw() % (i < 8 ? i : 8) : draw() % GRAPH;

			heapd_store(&table[from][(draw() % n[from]) | 1], (struct node *)(void *)table[i]);
		}
	for (unsigned i = 0; i < ROOTS; i++) {
		size_t at = i ? draw() % GRAPH : 0;

		snprintf(name, sizeof(name), "root%u", i);
		ck_call(heapd_root_set(heap, name, table[at]));
	}
	for (unsigned i = 0; i < PINS; i++)
		ck_assert_ptr_nonnull(heapd_pin(heap, table[draw() % GRAPH]));
}

/* A list, with a way back from its end: all of it is one chain of dominators. */
static void list_build(void)
{
	struct node *first = NULL, *last = NULL;

	for (unsigned i = 0; i < LENGTH; i++) {
		struct node *new = heapd_new(nodes, struct node);

		ck_assert_ptr_nonnull(new);
		heapd_init(&new->left, first);
		first = new;
		last = last ? last : new;
	}
	heapd_store(&last->right, first);
	ck_call(heapd_root_set(heap, "list", first));
}

/* What stacks hold is published, and stays as it is. */
static void settle(void)
{
	collect();
	ck_call(heapd_thread_offline(heap));
}

static const char *memlab_find(void)
{
	static char path[600];
	const char *build = getenv("HEAPD_TEST_BUILD");

	snprintf(path, sizeof(path), "%s/memlab/node_modules", build ? build : "build");
	if (access(path, X_OK) < 0)
		snprintf(path, sizeof(path), "build/memlab/node_modules");
	return path;
}

START_TEST(memlab_finds_the_same_retained_sizes)
{
	const char *modules = memlab_find();

	if (run("NODE_PATH=%s node -e 'require(\"@memlab/heap-analysis\")' >/dev/null 2>&1", modules) != 0) {
		printf("SKIP memlab_finds_the_same_retained_sizes: there is no memlab: \"make deps-memlab\" installs it, by npm\n");
		return;
	}
	graph_build();
	list_build();
	settle();
	ck_assert_int_eq(run("%s -H test --no-gc -o %s/x.heapsnapshot snapshot", tool, fixture.dir), 0);
	ck_assert_int_eq(
		run("%s -H test --no-gc --json=short --top 1000000 retained >%s/retained", tool, fixture.dir),
		0);
	ck_assert_int_eq(run("%s -H test --no-gc --json=short --top 7 retained >%s/top", tool, fixture.dir),
			 0);
	ck_assert_int_eq(
		run("NODE_PATH=%s timeout 100 node tests/memlab.js %s/x.heapsnapshot %s/retained %s/top %" PRIu64
		    " %u",
		    modules, fixture.dir, fixture.dir, fixture.dir, heap->t.base, GRAPH / 4 + LENGTH),
		0);
	ck_call(heapd_thread_online(heap));
}
END_TEST

/* By number and size, of all kinds of objects, large ones with pointers near their end included. */
START_TEST(a_walk_meets_what_the_collector_marked)
{
	const struct heapd_stats *stats = &heap->t.directory->stats;

	graph_build();
	list_build();
	settle();
	ck_assert_uint_gt(HEAPD_READ_ONCE(stats->gc_live_objects), LENGTH + GRAPH / 4);
	ck_assert_int_eq(run("%s -H test --no-gc --json=short --live histo | python3 -c 'import json, sys\n"
			     "rows = json.load(sys.stdin)[\"histo\"]\n"
			     "found = [sum(r[w] for r in rows) for w in (\"objects\", \"bytes\")]\n"
			     "sys.exit(found != [%" PRIu64 ", %" PRIu64 "] and str(found))'",
			     tool, HEAPD_READ_ONCE(stats->gc_live_objects), HEAPD_READ_ONCE(stats->gc_live)),
			 0);
	ck_call(heapd_thread_online(heap));
}
END_TEST

static void stop(void)
{
	attached_stop();
}

int main(void)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	TCase *tcase = tcase_create("walk");

	snprintf(tool, sizeof(tool), "%s/heapctl", build ? build : "build");
	tcase_set_timeout(tcase, 300);
	tcase_add_checked_fixture(tcase, start_small, stop);
	tcase_add_test(tcase, a_walk_meets_what_the_collector_marked);
	tcase_add_test(tcase, memlab_finds_the_same_retained_sizes);
	return attached_run(tcase, suite_create("walk"));
}
