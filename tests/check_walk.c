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
#include "drawn.h"

#define GRAPH  4000u
#define ROOTS  12u
#define PINS   20u
#define LENGTH 2000u

static char tool[512];

static void start(const char *const settings[])
{
	seed = fixture_seed() | 1;
	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	types_define();
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

/* So that much hangs on little: most objects have one or two that lead to them, near ones. */
static void __attribute__((noinline)) graph_build(void)
{
	struct node ***table = (struct node ***)heapd_alloc(heap, GRAPH * 8ul);
	static size_t n[GRAPH];
	char name[16];

	for (size_t i = 0; i < GRAPH; i++)
		heapd_store(&table[i], object_draw(&n[i]));
	for (size_t i = 1; i < GRAPH; i++)
		for (size_t k = 2 + random_next(&seed) % 2; k; k--) {
			size_t from = random_next(&seed) % 3 ? i - 1 - random_next(&seed) % (i < 8 ? i : 8)
							     : random_next(&seed) % GRAPH;

			heapd_store(&table[from][(random_next(&seed) % n[from]) | 1],
				    (struct node *)(void *)table[i]);
		}
	for (unsigned i = 0; i < ROOTS; i++) {
		size_t at = i ? random_next(&seed) % GRAPH : 0;

		snprintf(name, sizeof(name), "root%u", i);
		ck_call(heapd_root_set(heap, name, table[at]));
	}
	for (unsigned i = 0; i < PINS; i++)
		ck_assert_ptr_nonnull(heapd_pin(heap, table[random_next(&seed) % GRAPH]));
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

/* Two objects, one right behind the other: the address of the second. */
static __attribute__((noinline)) struct node *neighbours_make(uint64_t *disguised)
{
	struct node *first = heapd_new(nodes, struct node), *second = heapd_new(nodes, struct node);

	while (first && second && (char *)second != (char *)first + heapd_size(first)) {
		first = second;
		second = heapd_new(nodes, struct node);
	}
	ck_assert_ptr_nonnull(second);
	*disguised = ~(uint64_t)(uintptr_t)first;
	return second;
}

/* On a stack an address is taken for the beginning of one object, and for the end of the one before. */
START_TEST(what_lies_before_is_held_as_one_past_its_end)
{
	uint64_t disguised;
	struct node *second = neighbours_make(&disguised);
	char text[512];

	settle();
	ck_call(heapd_path_to(heap, (void *)(uintptr_t)~disguised, text, sizeof(text)));
	ck_assert_msg(strncmp(text, "one past its end on a stack of process ", 39) == 0, "%s", text);
	ck_call(heapd_path_to(heap, second, text, sizeof(text)));
	ck_assert_msg(strncmp(text, "a stack of process ", 19) == 0, "%s", text);
	ck_assert_int_eq(run("%s -H test --no-gc why 0x%" PRIx64 " >%s/why; grep -q '^node 0x%" PRIx64
			     " .* the stack of thread record 0, as one past its end' %s/why",
			     tool, ~disguised, fixture.dir, ~disguised, fixture.dir),
			 0);
	heapd_keep(second);
	ck_call(heapd_thread_online(heap));
}
END_TEST

/* The first is a root's, the second the range's. */
static __attribute__((noinline)) void neighbours_share(struct node **range, uint64_t *disguised)
{
	heapd_store(range, neighbours_make(disguised));
	ck_call(heapd_root_set(heap, "first", (void *)(uintptr_t) ~*disguised));
}

START_TEST(a_range_holds_nothing_by_its_end)
{
	static struct node *range[1];
	uint64_t disguised;

	ck_call(heapd_range_add(heap, range, sizeof(range)));
	neighbours_share(range, &disguised);
	settle();
	ck_assert_int_eq(run("%s -H test --no-gc why 0x%" PRIx64 " >%s/why; grep -q ' a range' %s/why", tool,
			     (uint64_t)(uintptr_t)range[0], fixture.dir, fixture.dir),
			 0);
	ck_assert_int_eq(run("%s -H test --no-gc --no-legend who 0x%" PRIx64 " >%s/who; "
			     "grep -q '^root first' %s/who && ! grep -q ^process %s/who",
			     tool, ~disguised, fixture.dir, fixture.dir, fixture.dir),
			 0);
	ck_call(heapd_thread_online(heap));
}
END_TEST

/* A heap with many objects ------------------------------------------------------------------------------------------ */

#define MANY 2000000u
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif
#define PART 4000u /* pointers in a part of the table */
/* Of a heapctl itself; an array of four bytes for each object would not fit. A sanitizer's shadow is more by far. */
#define DATA_MOST (12ul << 20)

static uint64_t many_objects(void)
{
	const char *n = getenv("HEAPD_WALK_OBJECTS");

	return n ? strtoull(n, NULL, 0) : MANY;
}

static void start_many(void)
{
	static const char *const settings[] = { "heap.test.Size=16G", "heap.test.Limit=4G",
						"heap.test.GCPercent=1000", "heap.test.GCInterval=off",
						NULL };

	seed = fixture_seed() | 1;
	fixture_start(&fixture, settings);
}

/* A list of one half of the objects; a table of the other half, in parts; each leads to another of the table besides. */
static uint64_t many_build(uint64_t n)
{
	struct node ***table = (struct node ***)heapd_alloc(heap, (n / 2 / PART + 1) * 8), *first = NULL;

	ck_call(heapd_root_set(heap, "table", table));
	for (uint64_t i = 0; i < n; i++) {
		struct node *new = heapd_new(nodes, struct node);

		if (!new)
			ck_abort_msg("%s", heapd_error());
		if (i % 2) {
			heapd_init(&new->left, first);
			first = new;
		} else if (i / 2 % PART == 0) {
			heapd_store(&table[i / 2 / PART], (struct node **)heapd_alloc(heap, PART * 8));
			if (!table[i / 2 / PART])
				ck_abort_msg("%s", heapd_error());
		}
		if (i % 2 == 0)
			heapd_store(&table[i / 2 / PART][i / 2 % PART], new);
		uint64_t other = random_next(&seed) % (i / 2 + 1);
		heapd_init(&new->right, table[other / PART][other % PART]);
	}
	ck_call(heapd_root_set(heap, "list", first));
	while (heapd_load(&first->left))
		first = first->left;
	return ~(uint64_t)(uintptr_t)first;
}

/* In a process that ends: nobody's stack holds any of it. The address of the list's last object comes inverted. */
static int many_client(void *end)
{
	uint64_t last;

	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	types_define();
	last = many_build(many_objects());
	return write(*(int *)end, &last, sizeof(last)) != sizeof(last);
}

static uint64_t many_made(void)
{
	uint64_t last;
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	fixture_wait(fixture_client_fork(many_client, &ends[1]), 0);
	ck_assert_int_eq(read(ends[0], &last, sizeof(last)), sizeof(last));
	close(ends[0]);
	close(ends[1]);
	return last;
}

/*
 * What a verb allocates is limited: memory that lies in a file can be written out, and does not count. What it wrote is
 * put where `check`, a line of Python, has it as `out`.
 */
static void run_bounded(const char *verb, const char *check)
{
	uint64_t begin = fixture_now_ns();
	struct rlimit limit = { DATA_MOST, DATA_MOST };
	struct rusage usage;
	pid_t child = fork();
	char command[1024];
	int status;

	if (child == 0) {
		snprintf(command, sizeof(command), "exec %s -H test --no-gc --json=short %s >%s/out", tool,
			 verb, fixture.dir);
		if (!SANITIZED)
			setrlimit(RLIMIT_DATA, &limit);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(wait4(child, &status, 0, &usage), child);
	printf("%-30s %6.2f s, at most %ld MiB resident, files included\n", verb,
	       (double)(fixture_now_ns() - begin) / 1e9, usage.ru_maxrss >> 10);
	fflush(stdout);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status %#x", verb, status);
	ck_assert_msg(run("python3 -c 'import json\nout = open(\"%s/out\").read()\nn = %" PRIu64
			  "\nassert %s, out[:1000]'",
			  fixture.dir, many_objects(), check) == 0,
		      "%s: not so: %s", verb, check);
}

/* The list is the longest path that there can be, and each of its objects is dominated by the one before. */
START_TEST(memory_is_bounded)
{
	uint64_t last = many_made();
	char verb[64], check[256];

	run_bounded("--live histo", "[r for r in json.loads(out)[\"histo\"] if r[\"objects\"] == n]");
	run_bounded("retained", "json.loads(out)[\"retained\"][0][\"retained\"] == n / 2 * 32");
	run_bounded("--top 100000 retained", "len(json.loads(out)[\"retained\"]) == 100000");
	run_bounded("snapshot", "int(out.split(\"node_count\\\":\")[1].split(\",\")[0]) > n");
	run_bounded("leaks 2 0", "json.loads(out)");
	snprintf(verb, sizeof(verb), "--json=off dot 0x%" PRIx64, ~last);
	run_bounded(verb, "out.startswith(\"digraph heap {\") and out.count(\"->\") >= 4");
	snprintf(verb, sizeof(verb), "who 0x%" PRIx64, ~last);
	run_bounded(verb, "[r[\"reached_by\"] for r in json.loads(out)[\"who\"]] == [\"root list\"]");
	snprintf(verb, sizeof(verb), "why 0x%" PRIx64, ~last);
	snprintf(
		check, sizeof(check),
		"(lambda p: len(p) == n // 2 + 1 and p[0][\"object\"] == \"root list\" and p[-1][\"object\"] == \"node 0x%" PRIx64
		"\" and all(r[\"held_by\"] == \"at byte 8\" for r in p[2:]))(json.loads(out)[\"path\"])",
		~last);
	run_bounded(verb, check);
}
END_TEST

static void stop(void)
{
	attached_stop();
}

static void stop_many(void)
{
	fixture_stop(&fixture);
}

int main(void)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	TCase *tcase = tcase_create("walk");
	Suite *suite = suite_create("walk");

	snprintf(tool, sizeof(tool), "%s/heapctl", build ? build : "build");
	tcase_set_timeout(tcase, 300);
	tcase_add_checked_fixture(tcase, start_small, stop);
	tcase_add_test(tcase, a_walk_meets_what_the_collector_marked);
	tcase_add_test(tcase, what_lies_before_is_held_as_one_past_its_end);
	tcase_add_test(tcase, a_range_holds_nothing_by_its_end);
	tcase_add_test(tcase, memlab_finds_the_same_retained_sizes);
	suite_add_tcase(suite, tcase);
	tcase = tcase_create("many");
	tcase_add_checked_fixture(tcase, start_many, stop_many);
	tcase_add_test(tcase, memory_is_bounded);
	tcase_set_timeout(tcase, 3000);
	return attached_run(tcase, suite);
}
