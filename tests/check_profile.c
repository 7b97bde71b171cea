/* SPDX-License-Identifier: MIT */
/*
 * heapctl profile: this process allocates at three places, of which one keeps what it makes, one drops it, and one frees it
 * by hand; the profile must say how much each did, whose lives, and what kept the objects. That the file says the same as
 * heapctl, and names places as the program's own symbols do, tests/profile.py finds out, which reads it by itself.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "objects.h"
#include "suite.h"

#define EACH  (16u << 20) /* bytes that each place allocates */
#define MEAN  8192u       /* between two samples: 2048 of each place */
#define SIGMA 4           /* standard deviations of the sum of so many samples that are believed */

struct node {
	heapd_ptr(struct node) next;
	char rest[120];
};

static struct fixture fixture;
static heapd_heap *heap;
static heapd_type *nodes;
static char tool[512];
static FILE *said; /* what heapctl says while it takes samples */

__attribute__((noinline)) static void keep_nodes(struct node *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct node *new = heapd_new(nodes, struct node);

		ck_assert_ptr_nonnull(new);
		heapd_init(&new->next, heapd_load(&list->next));
		heapd_store(&list->next, new);
	}
}

__attribute__((noinline)) static void drop_nodes(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ck_assert_ptr_nonnull(heapd_new(nodes, struct node));
}

/* Its name is one that a C++ compiler makes. In lots, so that slabs go back and forth between this process and the daemon. */
static void free_nodes(unsigned n) __asm__("_ZN4shop10free_nodesEj");
__attribute__((noinline)) static void free_nodes(unsigned n)
{
	static struct node *lot[1024];

	for (unsigned i = 0; i < n; i += 1024) {
		for (unsigned k = 0; k < 1024; k++) {
			lot[k] = heapd_new(nodes, struct node);
			ck_assert_ptr_nonnull(lot[k]);
		}
		for (unsigned k = 0; k < 1024; k++)
			heapd_free(lot[k]);
	}
	memset(lot, 0, sizeof(lot));
}

__attribute__((noinline)) static void work(struct node *list, unsigned keep)
{
	free_nodes(EACH / sizeof(struct node));
	keep_nodes(list, keep / sizeof(struct node));
	drop_nodes(EACH / sizeof(struct node));
	__asm__ volatile("");
}

/* Starts heapctl; returns when it takes samples. */
static pid_t profile_start(const char *output)
{
	int ends[2];
	pid_t child;
	char line[256];
	FILE *f;

	ck_assert_int_eq(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		execl(tool, "heapctl", "-H", FIXTURE_HEAP, "-o", output, "profile", "100", (char *)NULL);
		_exit(127);
	}
	ck_assert_int_gt(child, 0);
	close(ends[1]);
	f = fdopen(ends[0], "re");
	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
	ck_assert_msg(strstr(line, "taking samples"), "%s", line);
	said = f;
	return child;
}

static void profile_end(pid_t child)
{
	char line[256];
	int status;

	ck_assert_int_eq(kill(child, SIGINT), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	while (fgets(line, sizeof(line), said))
		printf("heapctl: %s", line);
	fclose(said);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "heapctl profile: status %d", status);
}

/* Runs heapctl with these arguments and hands its lines to fn. */
static void heapctl(const char *arguments, void (*fn)(const char *line, void *arg), void *arg)
{
	char command[1024], line[4096];
	FILE *f;

	snprintf(command, sizeof(command), "%s -H %s %s", tool, FIXTURE_HEAP, arguments);
	f = popen(command, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		fn(line, arg);
	ck_assert_msg(pclose(f) == 0, "%s failed", command);
}

/* What is known of the two profiles, for tests/profile.py. */
struct facts {
	uint64_t began[2], ended[2], cycles[2][2];
	unsigned kept[2];
};

static uint64_t wall_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cycles(void)
{
	struct heapd_info info = HEAPD_SIZED(info);

	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	return info.gc_cycles;
}

/* One profile of work() that keeps so much. */
static void profile_take(struct facts *f, unsigned which, const char *path, struct node *list, unsigned keep)
{
	pid_t child;

	f->kept[which] = keep / sizeof(struct node);
	f->began[which] = wall_ns();
	f->cycles[which][0] = cycles();
	child = profile_start(path);
	work(list, keep);
	ck_assert_int_eq(heapd_collect(heap), 0);
	/* One more may be under way. */
	f->cycles[which][1] = cycles() + 1;
	profile_end(child);
	f->ended[which] = wall_ns();
}

/* The n that were kept last. */
static void kept_write(FILE *f, const struct node *list, unsigned n)
{
	for (const struct node *o = list->next; n; n--, o = o->next)
		fprintf(f, "\"%#lx\"%s", (unsigned long)(uintptr_t)o, n > 1 ? ",\n" : "");
}

/* The second profile kept what stands first in the list. */
static void facts_write(const struct facts *facts, const char *path, const struct node *list)
{
	const struct node *first = list;
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	fprintf(f, "{\"program\": \"/proc/%d/exe\", \"pid\": %d, \"mean\": %u, \"size\": %zu,\n", getpid(),
		getpid(), MEAN, sizeof(struct node));
	for (unsigned i = 0; i < facts->kept[1]; i++)
		first = first->next;
	fprintf(f, "\"began\": [%lu, %lu], \"ended\": [%lu, %lu], \"cycles\": [[%lu, %lu], [%lu, %lu]],\n",
		facts->began[0], facts->began[1], facts->ended[0], facts->ended[1], facts->cycles[0][0],
		facts->cycles[0][1], facts->cycles[1][0], facts->cycles[1][1]);
	fprintf(f, "\"kept\": [[");
	kept_write(f, first, facts->kept[0]);
	fprintf(f, "], [");
	kept_write(f, list, facts->kept[1]);
	fprintf(f, "]]}\n");
	ck_assert_int_eq(fclose(f), 0);
}

struct sums {
	double kept, dropped, freed, other;
	const char *within; /* each stack has to have that */
};

static void sum_line(const char *line, void *arg)
{
	struct sums *sums = arg;
	const char *number = strrchr(line, ' ');
	double n;

	ck_assert_ptr_nonnull(number);
	n = strtod(number, NULL);
	ck_assert_msg(!sums->within || strstr(line, sums->within), "no '%s' in %s", sums->within, line);
	*(strstr(line, ";keep_nodes ")                       ? &sums->kept
	  : strstr(line, ";drop_nodes ")                     ? &sums->dropped
	  : strstr(line, ";shop::free_nodes(unsigned int) ") ? &sums->freed
							     : &sums->other) += n;
}

/* That many bytes, as well as so many samples can know it. Each stands for a slab and more. */
static void about(const char *what, double got, double expected)
{
	double slab = 64 * sizeof(struct node);
	double off = SIGMA * sqrt(expected * (slab > MEAN ? slab : MEAN));

	ck_assert_msg(fabs(got - expected) <= off, "%s: %.0f bytes, not %.0f +- %.0f", what, got, expected,
		      off);
}

static void check_pprof(const char *path)
{
	char command[512];
	unsigned n = 0;
	char line[1024];
	FILE *f;

	if (system("go version >/dev/null 2>&1") != 0) {
		printf("SKIP sites: no go here, so no go tool pprof\n");
		return;
	}
	snprintf(command, sizeof(command),
		 "go tool pprof -top -unit=B -sample_index=inuse_space %s 2>/dev/null", path);
	f = popen(command, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		double flat = 0;

		/* Flat and its share come first, the function last. */
		if (strstr(line, " keep_nodes") && sscanf(line, "%lf", &flat) == 1)
			about("go tool pprof: kept", flat, EACH), n++;
	}
	ck_assert_int_eq(pclose(f), 0);
	ck_assert_msg(n == 1, "go tool pprof does not name keep_nodes once, but %u times", n);
}

static struct node *list_make(void)
{
	struct node *list = heapd_root(heap, "list", struct node, nodes);
	char mean[16];

	ck_assert_ptr_nonnull(list);
	snprintf(mean, sizeof(mean), "%u", MEAN);
	ck_assert_int_eq(heapd_set(heap, "sample.bytes", mean), 0);
	return list;
}

/* What one of the first two profiles says of how much was allocated, and lives. */
static void check_sums(const char *path, unsigned keep)
{
	struct sums live = { .within = ";work;" }, all = { .within = ";work;" };
	char arguments[512];

	snprintf(arguments, sizeof(arguments), "--folded --allocated --profile=%s profile", path);
	heapctl(arguments, sum_line, &all);
	about("kept, allocated", all.kept, keep);
	about("dropped, allocated", all.dropped, EACH);
	/* Slabs that it freed into are taken once for many times that they are used. */
	ck_assert_msg(all.freed > 0 && all.freed < EACH * 1.5, "freed, allocated: %.0f", all.freed);
	ck_assert_msg(all.other == 0, "elsewhere, allocated: %.0f", all.other);

	snprintf(arguments, sizeof(arguments), "--folded --profile=%s profile", path);
	heapctl(arguments, sum_line, &live);
	about("kept, live", live.kept, keep);
	/* What lies in slabs that are in use while they are looked at. */
	ck_assert_msg(live.dropped < EACH / 50., "dropped, live: %.0f", live.dropped);
	ck_assert_msg(live.freed < EACH / 50., "freed, live: %.0f", live.freed);
}

/* The second begins with nothing: what was kept before it is not in it. */
START_TEST(sites)
{
	char one[128], two[128], path[128], command[1024];
	struct node *list = list_make();
	struct facts facts;

	snprintf(one, sizeof(one), "%s/one.pb.gz", fixture.dir);
	snprintf(two, sizeof(two), "%s/two.pb.gz", fixture.dir);
	snprintf(path, sizeof(path), "%s/facts", fixture.dir);
	profile_take(&facts, 0, one, list, EACH);
	check_sums(one, EACH);
	check_pprof(one);
	profile_take(&facts, 1, two, list, EACH / 2);
	check_sums(two, EACH / 2);
	facts_write(&facts, path, list);
	snprintf(command, sizeof(command), "python3 tests/profile.py %s %s %s %s", tool, path, one, two);
	ck_assert_msg(system(command) == 0, "the profiles are not as it says above");
}
END_TEST

struct found {
	unsigned lines, by;
};

static void why_line(const char *line, void *arg)
{
	struct found *found = arg;

	found->lines++;
	found->by += strstr(line, "keep_nodes < work <") != NULL;
}

/* An object whose sample is kept is told of by whom it was made; also after the profile has ended. */
START_TEST(who_allocated)
{
	struct found found = { 0 };
	char path[128], arguments[512];
	struct node *list = list_make();
	pid_t child;

	snprintf(path, sizeof(path), "%s/one.pb.gz", fixture.dir);
	child = profile_start(path);
	work(list, EACH);
	profile_end(child);
	/* All of a list is on the way to its last one. */
	while (heapd_load(&list->next))
		list = heapd_load(&list->next);
	snprintf(arguments, sizeof(arguments), "--profile=%s why 0x%lx", path,
		 (unsigned long)(uintptr_t)list);
	/* Then no stack holds it. */
	ck_assert_int_eq(heapd_detach(heap), 0);
	heapctl(arguments, why_line, &found);
	heap = heap_attach(0, 0);
	ck_assert_uint_gt(found.lines, EACH / sizeof(struct node));
	/* A piece of slabs shows its first object; so at most one of 64, and at least half of those. */
	ck_assert_msg(found.by > EACH / sizeof(struct node) / 64 / 4 &&
			      found.by <= EACH / sizeof(struct node) / 32,
		      "%u of %u objects are said to be by keep_nodes", found.by, found.lines);
}
END_TEST

static void start(void)
{
	static const char *const settings[] = { "heap.test.GCPercent=1000", NULL };

	fixture_start(&fixture, settings);
	heap = heap_attach(0, 0);
	nodes = heapd_type_define(heap, "node", struct node, next);
	ck_assert_ptr_nonnull(nodes);
}

static void stop(void)
{
	ck_assert_int_eq(heapd_detach(heap), 0);
	fixture_stop(&fixture);
}

int main(void)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	TCase *tcase = tcase_create("profile");
	Suite *suite = suite_create("profile");

	snprintf(tool, sizeof(tool), "%s/heapctl", build ? build : "build");
	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, start, stop);
	if (geteuid() == 0) {
		tcase_add_test(tcase, sites);
		tcase_add_test(tcase, who_allocated);
	} else {
		printf("SKIP profile: needs root, to load a BPF program\n");
	}
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
