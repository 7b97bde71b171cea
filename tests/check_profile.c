/* SPDX-License-Identifier: MIT */
/*
 * heapctl profile: this process allocates at three places, of which one keeps what it makes, one drops it, and one frees it
 * by hand; the profile must say how much each did, whose lives, and what kept the objects. That the file says the same as
 * heapctl, and names places as the program's own symbols do, tests/profile.py finds out, which reads it by itself.
 */
#include <fcntl.h>
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
static heapd_type *nodes, *twins;
static unsigned keep_line[2], drop_line; /* where work() calls them */
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

/* Of two types, at one place. */
__attribute__((noinline)) static void drop_nodes(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ck_assert_ptr_nonnull(heapd_new(i % 2 ? nodes : twins, struct node));
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

#define RUN 97u /* so that slabs have of both, and any may come first */

/*
 * What is kept lies among what is dropped, so that spans live on; what is kept last gets places of what was dropped. In
 * between there is time for heapctl to see that all of it lives.
 */
__attribute__((noinline)) static void work(struct node *list, unsigned keep)
{
	unsigned drop = EACH / sizeof(struct node), left = keep / sizeof(struct node), last = left / 4;

	while (drop || left > last) {
		unsigned k = left - last < RUN ? left - last : RUN, d = drop < RUN ? drop : RUN;

		keep_line[0] = __LINE__, keep_nodes(list, k);
		drop_line = __LINE__, drop_nodes(d);
		left -= k;
		drop -= d;
	}
	sleep(2);
	ck_assert_int_eq(heapd_collect(heap), 0);
	keep_line[1] = __LINE__, keep_nodes(list, left);
	/* Last: what this process frees and has in hand it would allocate again, unseen; the rest the daemon is to know of. */
	free_nodes(EACH / sizeof(struct node));
	ck_assert_int_eq(heapd_sync(heap), 0);
	__asm__ volatile("");
}

/* Samples that are not this heap's: their stacks have no work(). Not gone before they have been looked at. */
static void strange_nodes(const char *name)
{
	ck_assert_int_eq(heapd_attach(&heap, name, NULL), 0);
	ck_assert_int_eq(heapd_set(heap, "sample.bytes", "8192"), 0);
	nodes = twins = heapd_type_define(heap, "node", struct node, next);
	drop_nodes(EACH / 4 / sizeof(struct node));
	usleep(600000);
	ck_assert_int_eq(heapd_detach(heap), 0);
}

/* Was a client, which heapctl comes to know, and is one of another heap then. */
static int one_that_left(void *arg)
{
	(void)arg;
	usleep(600000);
	ck_assert_int_eq(heapd_detach(heap), 0);
	strange_nodes("other");
	return 0;
}

/* Was never one: its heap has that name too, with another daemon. Waits for the end of the pipe. */
static int namesake(void *ends)
{
	struct fixture own;
	char c;

	close(((int *)ends)[1]);
	if (read(((int *)ends)[0], &c, 1) != 0)
		return 1;
	fixture_start(&own, NULL);
	strange_nodes(FIXTURE_HEAP);
	fixture_stop(&own);
	return 0;
}

static void attach(void)
{
	heap = heap_attach(0, 0);
	nodes = heapd_type_define(heap, "node", struct node, next);
	twins = heapd_type_define(heap, "twin", struct node, next);
	ck_assert(nodes && twins);
}

struct namesake {
	pid_t pid;
	int end; /* of the pipe that it waits for */
};

static struct namesake namesake_make(void)
{
	struct namesake n;
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
	n = (struct namesake){ fixture_client_fork(namesake, ends), ends[1] };
	close(ends[0]);
	attach();
	return n;
}

static pid_t namesake_go(const struct namesake *n)
{
	close(n->end);
	return n->pid;
}

/* Starts heapctl; returns when it takes samples, and when the collection has been that follows each death of a child. */
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
	ck_assert_int_eq(heapd_collect(heap), 0);
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
	struct namesake namesake;
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
	fixture_wait(which ? fixture_client_fork(one_that_left, NULL) : namesake_go(&f->namesake), 0);
	work(list, keep);
	/* So that it has no slabs in hand, in which nothing is seen to go. */
	ck_assert_int_eq(heapd_detach(heap), 0);
	attach();
	ck_assert_int_eq(heapd_collect(heap), 0);
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
	fprintf(f, "{\"keep\": [%u, %u], \"drop\": [%u], \"each\": %u,\n", keep_line[0], keep_line[1],
		drop_line, EACH);
	fprintf(f, "\"program\": \"/proc/%d/exe\", \"pid\": %d, \"mean\": %u, \"size\": %zu,\n", getpid(),
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
	struct facts facts = { .namesake = namesake_make() };
	struct node *list = list_make();

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
	unsigned lines, by, late_by;
	uint64_t *late; /* sorted */
	unsigned nlate;
};

static int compare_words(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void why_line(const char *line, void *arg)
{
	struct found *found = arg;
	const char *at = strstr(line, "node 0x");
	uint64_t address = at ? strtoull(at + 5, NULL, 16) : 0;

	found->lines++;
	found->by += strstr(line, "keep_nodes < work <") != NULL;
	if (bsearch(&address, found->late, found->nlate, 8, compare_words))
		found->late_by += strstr(line, "keep_nodes") != NULL;
}

/* Half of them go, and others come in their places, whom the profile does not know. */
__attribute__((noinline)) static void list_renew(struct node *list, struct found *found)
{
	unsigned n = EACH / sizeof(struct node) / 2;
	uint64_t seed = 1;

	found->late = calloc(n, 8);
	ck_assert_ptr_nonnull(found->late);
	for (struct node *o = list; o; o = o->next)
		while (o->next && (seed = seed * 6364136223846793005u + 1) >> 63)
			heapd_store(&o->next, o->next->next);
	ck_assert_int_eq(heapd_collect(heap), 0);
	ck_assert_int_eq(heapd_collect(heap), 0);
	keep_nodes(list, n);
	for (const struct node *o = list->next; found->nlate < n; o = o->next)
		found->late[found->nlate++] = (uint64_t)(uintptr_t)o;
	qsort(found->late, n, 8, compare_words);
}

/*
 * An object whose sample is kept is told of by whom it was made; also after the profile has ended, and not if it is another
 * that has the place since.
 */
START_TEST(who_allocated)
{
	struct found found = { 0 };
	char path[128], arguments[512];
	struct node *list = list_make();
	unsigned each = EACH / sizeof(struct node);
	pid_t child;

	snprintf(path, sizeof(path), "%s/one.pb.gz", fixture.dir);
	child = profile_start(path);
	work(list, EACH);
	profile_end(child);
	list_renew(list, &found);
	/* All of a list is on the way to its last one. */
	while (heapd_load(&list->next))
		list = heapd_load(&list->next);
	snprintf(arguments, sizeof(arguments), "--profile=%s why 0x%lx", path,
		 (unsigned long)(uintptr_t)list);
	/* Then no stack holds it. */
	ck_assert_int_eq(heapd_detach(heap), 0);
	heapctl(arguments, why_line, &found);
	heap = heap_attach(0, 0);
	ck_assert_uint_gt(found.lines, each / 4 * 3);
	/* A piece of slabs shows its first object; so at most one of 64, and at least half of those; and half have gone. */
	ck_assert_msg(found.by > each / 64 / 8 && found.by <= each / 32,
		      "%u of %u objects are said to be by keep_nodes", found.by, found.lines);
	ck_assert_msg(!found.late_by, "%u objects are said to be those that had their places before",
		      found.late_by);
	free(found.late);
}
END_TEST

static void start(void)
{
	/* Collections when they are asked for: of what one frees before heapctl has told of it, nobody sees that it is gone. */
	static const char *const settings[] = { "heap.test.GCPercent=10000", "heap.test.GCInterval=off",
						"heap.other.Size=64M", NULL };

	fixture_start(&fixture, settings);
	attach();
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
