/* SPDX-License-Identifier: MIT */
/*
 * heapctl on broken heaps. A proxy stands between it and the daemon and hands it a copy of the heap's directory, or of its
 * objects, that was scribbled on, or scribbles on the daemon's answers: the daemon itself and its heap stay whole. Every
 * verb ends with one of its exit statuses and, if that is not 0, a sentence; none falls, hangs, or makes memory of holes.
 *
 * HEAPD_BROKEN_ALL=1: every verb on every corruption in every way. HEAPD_TEST_SEED has a run again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "collected.h"
#include "proxy.h"

#define VERBS_EACH 4u
#define HANG_S     "100"
/* A sanitizer's own end, which is none of heapctl's. */
#define SANITIZER 99

static const char *const verbs[] = {
	"status",
	"list",
	"clients",
	"--bytes clients",
	"classes",
	"types",
	"spans",
	"roots",
	"config",
	"gc",
	"log",
	"trace",
	"verify",
	"receipts",
	"receipts 1",
	"stat 0.01 2",
	"top",
	"leaks 2 0",
	"--by=root leaks 2 0",
	"histo",
	"--live histo",
	"--live --age histo",
	"retained",
	"snapshot",
	"map",
	"-o /dev/null map",
	"why %s",
	"who %s",
	"dot %s",
	"--json=pretty types",
	"--json=short --live histo",
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

struct node {
	uint64_t number;
	heapd_ptr(struct node) left;
	uint64_t more;
	heapd_ptr(struct node) right;
};

static char tool[512], object[32];

/* The heap ---------------------------------------------------------------------------------------------------------- */

static int fill(void *end)
{
	struct node **table;
	heapd_type *nodes;
	uint64_t address;

	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	nodes = heapd_type_define(heap, "node", struct node, left, right);
	table = (struct node **)heapd_alloc(heap, 8000);
	ck_call(heapd_root_set(heap, "table", table));
	for (unsigned i = 0; i < 1500; i++) {
		struct node *new = heapd_new(nodes, struct node);

		heapd_init(&new->left, table[(i + 1) % 1000]);
		heapd_init(&new->right, (struct node *)heapd_alloc(heap, 16u << i % 10));
		heapd_store(&table[i % 1000], new);
	}
	ck_call(heapd_root_set(heap, "large", heapd_alloc(heap, 200000)));
	ck_assert_ptr_nonnull(heapd_pin(heap, table[7]));
	ck_call(heapd_collect(heap));
	address = (uint64_t)(uintptr_t)table[3];
	if (write(*(int *)end, &address, 8) != 8)
		return 1;
	raise(SIGKILL);
	return 0;
}

static pid_t proxy_pid;

static void start(void)
{
	/* Who sees no more than a copy does not answer a scan in time: that is not waited for long. */
	static const char *const settings[] = { "heap.test.GCPercent=1000", "heap.test.GCInterval=off",
						"heap.test.StallTimeout=1s", NULL };
	uint64_t address;
	int ends[2];

	fixture_start(&fixture, settings);
	ck_assert_int_eq(pipe(ends), 0);
	fixture_wait(fixture_client_fork(fill, &ends[1]), -SIGKILL);
	ck_assert_int_eq(read(ends[0], &address, 8), 8);
	snprintf(object, sizeof(object), "0x%" PRIx64, address);
	close(ends[0]);
	close(ends[1]);
	kinds_make();
	order = mmap(NULL, sizeof(*order), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(order != MAP_FAILED);
	proxy_pid = proxy_start();
}

static void stop(void)
{
	kill(proxy_pid, SIGKILL);
	fixture_wait(proxy_pid, -SIGKILL);
	fixture_stop(&fixture);
}

/* What heapctl does with it ----------------------------------------------------------------------------------------- */

/* Its exit status, and the beginning of its standard error; or, if that is empty, of what it printed. */
static int verb_run(const char *verb, char said[2048])
{
	char filled[128], command[2048], path[128];
	FILE *f;
	int status;
	size_t n;

	/* NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): from the table above */
	snprintf(filled, sizeof(filled), verb, object);
	snprintf(path, sizeof(path), "%s/said", fixture.dir);
	snprintf(command, sizeof(command),
		 "ASAN_OPTIONS=exitcode=%d UBSAN_OPTIONS=exitcode=%d TMPDIR=%s timeout -s KILL " HANG_S
		 " %s --socket %s -H test --no-gc %s >%s.out 2>%s </dev/null",
		 SANITIZER, SANITIZER, fixture.dir, tool, proxy_path, filled, path, path);
	status = system(command);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	n = fread(said, 1, 2047, f);
	if (!n && (f = freopen(strcat(path, ".out"), "re", f)) != NULL)
		n = fread(said, 1, 2047, f);
	said[n] = 0;
	if (f)
		fclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int tried(enum way way, const struct kind *kind, bool whole, uint64_t seed, const char *verb,
		 char said[2048])
{
	int status;

	*order = (struct order){ .kind = *kind, .way = way, .seed = seed | 1, .whole = whole };
	status = verb_run(verb, said);
	ck_assert_msg(status >= 0 && status <= 5 && status != 2,
		      "%s, %s%s, seed %" PRIu64 ": heapctl %s: exit status %d: %s", kind->name,
		      whole ? "all " : "", ways[way], seed, verb, status, said);
	/* What it was asked for, in its answer, or a sentence. */
	ck_assert_msg(status == 0 || strstr(said, "heapctl: ") || (status == 1 && said[0]),
		      "%s, %s%s, seed %" PRIu64 ": heapctl %s: exit status %d without a word: %s", kind->name,
		      whole ? "all " : "", ways[way], seed, verb, status, said);
	return status;
}

START_TEST(any_verb_on_any_corruption)
{
	uint64_t seed = fixture_seed() | 1;
	bool all = getenv("HEAPD_BROKEN_ALL");
	char said[2048];

	for (unsigned k = 0; k < KINDS; k++) {
		unsigned statuses[6] = { 0 };
		long blocks = 0;

		for (unsigned i = 0; i < (all ? VERBS * WAYS : VERBS_EACH); i++) {
			const char *verb = verbs[all ? i % VERBS : draw(&seed) % VERBS];
			enum way way = all ? i / VERBS : draw(&seed) % WAYS;

			statuses[tried(way, &kinds[k], draw(&seed) % 4 == 0, draw(&seed), verb, said)]++;
			blocks = order->blocks > blocks ? order->blocks : blocks;
		}
		printf("%-18s statuses 0 1 3 4 5: %3u %3u %3u %3u %3u; %ld KiB more of memory files\n",
		       kinds[k].name, statuses[0], statuses[1], statuses[3], statuses[4], statuses[5],
		       blocks / 2);
		fflush(stdout);
		/* The small tables of fixed size, and nothing of the heap. */
		ck_assert_msg(blocks / 2 <= 2048, "%s: %ld KiB became memory", kinds[k].name, blocks / 2);
	}
}
END_TEST

/* Scribbled over as a whole, or with a word that cannot be. */
static void is_said(enum way way, unsigned kind, const char *verb, int expected, const char *sentence)
{
	char said[2048];
	int status = tried(way, &kinds[kind], true, 0x9e3779b97f4a7c15, verb, said);

	ck_assert_msg(status == expected && strstr(said, sentence),
		      "%s, all %s: heapctl %s: exit status %d, not %d: %s", kinds[kind].name, ways[way], verb,
		      status, expected, said);
}

START_TEST(what_can_be_seen_is_said)
{
	static const char *const walks[] = { "spans",        "classes", "types",    "histo", "retained",
					     "--live histo", "map",     "snapshot", "who %s" };

	is_said(ONES, HEAD, "status", 5, "not laid out as this client library knows it");
	is_said(ONES, CYCLE, "status", 1, "in a phase that there is not");
	is_said(ONES, STATS, "status", 1, "its statistics name more bytes than it has");
	is_said(ONES, CLASSES, "roots", 1, "classes make no sense");
	is_said(RANDOM, CLASSES, "log", 1, "classes make no sense");
	is_said(ONES, TYPES, "log", 1, "types make no sense");
	is_said(ZEROES, TYPES, "status", 1, "types make no sense");
	is_said(ONES, ROOTS, "status", 1, "named roots make no sense");
	is_said(RANDOM, ROOTS, "roots", 1, "named roots make no sense");
	for (unsigned i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
		is_said(ONES, SPANS, walks[i], 1, "spans and pages make no sense and are left out");
		is_said(RANDOM, PAGE_SPAN, walks[i], 1, "spans and pages make no sense and are left out");
	}
	is_said(ONES, REPLIES, "clients", 5, "heapctl: ");
	is_said(ENDLESS, REPLIES, "clients", 5, "list of sessions goes backwards");
	is_said(ENDLESS, REPLIES, "retained", 5, "list of sessions goes backwards");
	is_said(ENDLESS, REPLIES, "receipts", 5, "list of receipts goes backwards");
	is_said(ENDLESS, REPLIES, "receipts 1", 5, "list of receipts goes backwards");
	is_said(ENDLESS, REPLIES, "list", 5, "list of heaps goes backwards");
	is_said(FROZEN, CYCLE, "gc", 5, "does not show that collections end");
	is_said(FROZEN, CYCLE, "leaks 2 0", 5, "does not show that collections end");
	is_said(HOLLOW, SPANS, "--live histo", 1, "spans and pages make no sense and are left out");
	ck_assert_msg(order->blocks / 2 <= 2048, "a hole: %ld KiB became memory", order->blocks / 2);
}
END_TEST

static void suite_fill(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, start, stop);
	tcase_add_test(tcase, what_can_be_seen_is_said);
	tcase_add_test(tcase, any_verb_on_any_corruption);
}

int main(void)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	TCase *tcase = tcase_create("broken");

	snprintf(tool, sizeof(tool), "%s/heapctl", build ? build : "build");
	tcase_set_timeout(tcase, getenv("HEAPD_BROKEN_ALL") ? 3000 : 300);
	suite_fill(tcase);
	return attached_run(tcase, suite_create("broken"));
}
