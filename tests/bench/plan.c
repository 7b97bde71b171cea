/* SPDX-License-Identifier: MIT */
/*
 * plan.c - owns the choice: BENCH_ROUNDS, BENCH_ONLY, and which allocators this machine has.
 *
 * Right because a library counts as present only if the program started with it says that its malloc() and
 * free() come from that file.
 */
#include "plan.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "steps.h"

#define ROUNDS     9
#define SEPARATORS " ,\t\n"

static const struct peer {
	const char *name, *file; /* NULL: the C library's own */
} peers[] = {
	{ "mimalloc", "libmimalloc.so.2*" },
	{ "jemalloc", "libjemalloc.so.2" },
	{ "tcmalloc", "libtcmalloc_minimal.so.4" },
	{ "glibc", NULL },
};
#define NPEERS (sizeof(peers) / sizeof(peers[0]))

/* Words of BENCH_ONLY, in groups: a cell is measured if each group is unnamed or names it. */
static const char *const names[] = { "heapd", "hardened", "mimalloc", "jemalloc", "tcmalloc",
				     "glibc", "boost",    "bare",     NULL };
static const char *const extras[] = { "touch", "attach", NULL };

static bool word_named(const struct plan *plan, const char *word)
{
	char between[40];

	snprintf(between, sizeof(between), " %s ", word);
	return strstr(plan->only, between) != NULL;
}

static bool any_named(const struct plan *plan, const char *const *words)
{
	while (*words && !word_named(plan, *words))
		words++;
	return *words != NULL;
}

static bool any_loop_named(const struct plan *plan)
{
	bool any = false;

	for (uint32_t i = 0; i < BENCH_LOOPS; i++)
		any |= word_named(plan, bench_loop_name(i));
	return any;
}

static bool any_size_named(const struct plan *plan)
{
	bool any = false;

	for (size_t i = 0; i < BENCH_SIZES; i++)
		any |= word_named(plan, bench_size_name(bench_sizes[i]));
	return any;
}

static bool loops_wanted(const struct plan *plan)
{
	return any_named(plan, names) || any_loop_named(plan) || any_size_named(plan) ||
	       !any_named(plan, extras);
}

bool plan_wants(const struct plan *plan, const char *what)
{
	return !*plan->only || word_named(plan, what);
}

static bool name_wanted(const struct plan *plan, const char *name)
{
	return loops_wanted(plan) && (!any_named(plan, names) || word_named(plan, name));
}

bool plan_wants_cell(const struct plan *plan, const struct entrant *e, uint32_t loop, uint32_t size)
{
	bool bare = !strncmp(e->name, "bare", 4);

	if (loop == BENCH_PASS ? e->procs == 1 : bare && (size != 64 || loop > BENCH_PASS))
		return false;
	/* Threads beside processes, and the patterns: for fewer sizes, and nobody has to zero. */
	if (e->threads && loop < BENCH_PASS && (e->zero || loop == BENCH_ALLOC || size != 64))
		return false;
	if (loop > BENCH_PASS && (e->zero || size != (loop == BENCH_SCRATCH ? 16 : BENCH_MIX)))
		return false;
	if (any_loop_named(plan) && !word_named(plan, bench_loop_name(loop)))
		return false;
	return !any_size_named(plan) || word_named(plan, bench_size_name(size));
}

static bool word_known(const char *word)
{
	static const struct plan all;
	struct plan one = all;

	snprintf(one.only, sizeof(one.only), " %s ", word);
	return any_named(&one, names) || any_named(&one, extras) || any_loop_named(&one) ||
	       any_size_named(&one);
}

int plan_read(struct plan *plan)
{
	const char *rounds = getenv("BENCH_ROUNDS"), *only = getenv("BENCH_ONLY");
	char copy[sizeof(plan->only) - 2] = "", *word, *state;
	size_t used = 0;

	plan->rounds = rounds && *rounds ? (unsigned)atoi(rounds) : ROUNDS;
	if (plan->rounds < 1 || plan->rounds > BENCH_ROUNDS) {
		fprintf(stderr, "bench: BENCH_ROUNDS=%s: write a number from 1 to %d\n", rounds,
			BENCH_ROUNDS);
		return -EINVAL;
	}
	snprintf(copy, sizeof(copy), "%s", only ? only : "");
	for (word = strtok_r(copy, SEPARATORS, &state); word; word = strtok_r(NULL, SEPARATORS, &state)) {
		if (!word_known(word)) {
			fprintf(stderr,
				"bench: BENCH_ONLY=%s: \"%s\" is none of heapd hardened mimalloc jemalloc tcmalloc glibc "
				"boost bare, pair alloc burst pass larson xmalloc scratch, 16 64 256 1024 4096 mix, touch attach\n",
				only, word);
			return -EINVAL;
		}
		used += (size_t)snprintf(plan->only + used, sizeof(plan->only) - used, used ? "%s " : " %s ",
					 word);
	}
	return 0;
}

static void missing_add(struct plan *plan, const char *name, const char *why)
{
	size_t used = strlen(plan->missing);

	snprintf(plan->missing + used, sizeof(plan->missing) - used, "%s%s (%s)", used ? "; " : "", name,
		 why);
}

static bool contender_add(struct plan *plan, const char *name, char *const argv[], const char *preload)
{
	int r;

	if (access(argv[0], X_OK) < 0) {
		missing_add(plan, name, "its program was not built");
		return false;
	}
	r = contender_start(&plan->contenders[plan->ncontenders], argv, preload);
	if (r < 0)
		missing_add(plan, name, strerror(-r));
	else
		plan->ncontenders++;
	return r == 0;
}

/* Of the contender that was added last. */
static void entrant_add(struct plan *plan, struct results *results, const struct entrant *like)
{
	struct entrant *e = &results->entrants[results->nentrants++];

	*e = *like;
	e->contender = plan->ncontenders - 1;
	snprintf(e->label, sizeof(e->label), "%s%s", like->name, e->zero ? " + memset" : "");
}

static void processes_add(struct plan *plan, struct results *results, const char *name, bool zeroes)
{
	struct entrant e = { .zeroes = zeroes };

	snprintf(e.name, sizeof(e.name), "%s", name);
	for (e.procs = 1; e.procs <= BENCH_PROCS; e.procs *= 2)
		entrant_add(plan, results, &e);
}

/* name: of the contender, and of its heap. */
static void heapd_add(struct plan *plan, struct results *results, char *name, char *heap)
{
	char program[512], procs[] = "8", socket[128], daemon[16];
	char *argv[] = { program, socket, heap, procs, daemon, NULL };

	if (!plan->socket) {
		missing_add(plan, name, "there is no daemon");
		return;
	}
	snprintf(program, sizeof(program), "%s/heapd", plan->programs);
	snprintf(socket, sizeof(socket), "%s", plan->socket);
	snprintf(daemon, sizeof(daemon), "%s", plan->daemon);
	if (contender_add(plan, name, argv, NULL))
		processes_add(plan, results, name, true);
}

static void boost_add(struct plan *plan, struct results *results)
{
	char program[512], procs[] = "8";
	char *argv[] = { program, procs, NULL };

	snprintf(program, sizeof(program), "%s/boost", plan->programs);
	if (!contender_add(plan, "boost", argv, NULL))
		return;
	processes_add(plan, results, "boost", false);
	entrant_add(plan, results, &(struct entrant){ .name = "boost", .procs = BENCH_PROCS, .zero = true });
}

/* The least, and each step from there towards heapd (steps.c). */
static void bare_add(struct plan *plan, struct results *results)
{
	char program[512], procs[] = "1";
	char *argv[] = { program, procs, NULL };

	for (size_t i = 0; steps_names[i]; i++) {
		struct entrant e = { .procs = 1, .zeroes = true };

		snprintf(program, sizeof(program), "%s/%s", plan->programs, steps_names[i]);
		snprintf(e.name, sizeof(e.name), "%s", steps_names[i]);
		if (contender_add(plan, steps_names[i], argv, NULL))
			entrant_add(plan, results, &e);
	}
}

/* The first file of that name where libraries lie. */
static bool library_find(const char *file, char *path, size_t size)
{
	static const char *const folders[] = { "/usr/local/lib", "/usr/lib/*-linux-gnu*", "/usr/lib64",
					       "/usr/lib" };
	glob_t found = { 0 };

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		char pattern[256];

		snprintf(pattern, sizeof(pattern), "%s/%s", folders[i], file);
		glob(pattern, i ? GLOB_APPEND : 0, NULL, &found);
	}
	if (found.gl_pathc)
		snprintf(path, size, "%s", found.gl_pathv[0]);
	bool any = found.gl_pathc > 0;
	globfree(&found);
	return any;
}

static bool is_in_use(const struct contender *c, const char *path)
{
	char *used = realpath(c->hello.library, NULL), *wanted = realpath(path, NULL);
	bool same = used && wanted && !strcmp(used, wanted);

	free(used);
	free(wanted);
	return same;
}

static bool malloc_start(struct plan *plan, const struct peer *peer, const char *path, const char *workers)
{
	char program[512], count[4];
	char *argv[] = { program, count, NULL };

	snprintf(program, sizeof(program), "%s/malloc", plan->programs);
	snprintf(count, sizeof(count), "%s", workers);
	if (!contender_add(plan, peer->name, argv, path))
		return false;
	if (!path || is_in_use(&plan->contenders[plan->ncontenders - 1], path))
		return true;
	missing_add(plan, peer->name, "its library was loaded, but malloc() is another's");
	contender_end(&plan->contenders[--plan->ncontenders]);
	return false;
}

/* One process of one thread; and as many threads of one process as heapd has processes. */
static void malloc_add(struct plan *plan, struct results *results, const struct peer *peer)
{
	char path[256] = "";

	if (peer->file && !library_find(peer->file, path, sizeof(path))) {
		missing_add(plan, peer->name, "its library is not installed");
		return;
	}
	for (unsigned threads = 1; threads <= BENCH_PROCS; threads *= 2) {
		struct entrant e = { .procs = threads, .threads = threads > 1 };

		if (threads <= 2 &&
		    !malloc_start(plan, peer, peer->file ? path : NULL, threads > 1 ? "8" : "1"))
			return;
		snprintf(e.name, sizeof(e.name), "%s", peer->name);
		entrant_add(plan, results, &e);
		e.zero = true;
		if (threads <= 2)
			entrant_add(plan, results, &e);
	}
}

void plan_start(struct plan *plan, struct results *results)
{
	static char heapd[] = "heapd", bench[] = "bench", hardened[] = "hardened";

	if (name_wanted(plan, heapd))
		heapd_add(plan, results, heapd, bench);
	if (name_wanted(plan, hardened))
		heapd_add(plan, results, hardened, hardened);
	for (size_t i = 0; i < NPEERS; i++)
		if (name_wanted(plan, peers[i].name))
			malloc_add(plan, results, &peers[i]);
	if (name_wanted(plan, "boost"))
		boost_add(plan, results);
	if (name_wanted(plan, "bare"))
		bare_add(plan, results);
}

void plan_end(struct plan *plan)
{
	for (int i = 0; i < plan->ncontenders; i++)
		contender_end(&plan->contenders[i]);
}
