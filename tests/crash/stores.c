/* SPDX-License-Identifier: MIT */
/*
 * The daemon, killed before each of its stores: stores [--most N] [--functions PREFIX] [--again N]
 *
 * Each instruction of the daemon's that writes to memory other than its stack, in the functions that keep ledger,
 * directory, rings, spans, sessions and recovery, has its turn: a daemon is born with a debug register on it, works for
 * clients that come, die, allocate, free and collect, and is killed as it comes there. The next one recovers, with a
 * debug register on the next: so recoveries are killed, too, and recoveries from those.
 *
 * After each few deaths a daemon lives on; the heap is verified, the witness goes on, and two collections find alive
 * exactly what was alive at first.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "lives.h"
#include "scene.h"
#include "text.h"

#define MS    UINT64_C(1000000)
#define BATCH 8u         /* deaths between two looks */
#define LIFE  (400 * MS) /* of a daemon that does not come to a store */
#define LOOK  (20000 * MS)

struct target {
	uint64_t at;
	unsigned tries; /* lives that did not come there */
	bool hit;
};

enum verdict { GOOD = 1, BAD };

/* Between this process, the crowd and the looker. */
struct shared {
	_Atomic uint64_t found; /* objects alive */
	_Atomic uint64_t until; /* when the last ticket ends that was issued */
	_Atomic uint32_t rest;  /* the crowd is to stay away; 2: it does */
	_Atomic uint32_t ask, verdict;
};

struct run {
	struct fixture fixture;
	struct scene scene;
	struct text daemon;
	struct lives lives;
	struct target *targets;
	size_t ntargets;
	uint64_t seed, live;
	uint64_t deaths, recoveries, looks;
	unsigned most, again;
	const char *functions;
	pid_t witness, crowd, looker;
	struct shared *shared;
};

static const char *const prefixes[] = {
	"ring_",    "harvest_", "spans_",   "span_",   "pages_",  "page_",      "supply_", "ledger_",
	"supplier", "giving",   "clients_", "client_", "session", "sweep",      "recover", "rebuild",
	"runmap",   "held_",    "roots_",   "root_",   "ticket_", "collector_", "cycle_",  "audit",
	"marks_",   "heap_",    "types_",   "cut",     "large",   "deads_",     "weaks_",  "scaven",
	"release",  "adopt",    "quota",    "visit",   "early",   "run_"
};

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The crowd: clients that come, do one operation, and leave or die. -------------------------------------------------- */

static void do_operation(struct scene *s, const struct operation *o, bool die)
{
	alarm(3);
	if (o->prepare)
		o->prepare(s);
	o->run(s);
	if (die)
		raise(SIGKILL);
	_exit(0);
}

static int crowd(void *arg)
{
	struct run *run = arg;
	uint64_t random = run->seed;

	signal(SIGCHLD, SIG_DFL);
	while (!run->scene.board->stop) {
		const struct operation *o = &scene_operations[draw(&random) % scene_noperations];
		pid_t me = getpid(), pid;

		if (run->shared->rest) {
			run->shared->rest = 2;
			usleep(1000);
			continue;
		}
		if (o->where != IN_MAIN && o->where != IN_THREAD)
			continue;
		if (o->seconds)
			run->shared->until = fixture_now_ns() + 1000 * MS + o->seconds * 1000 * MS;
		pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != me || !freopen("/dev/null", "w", stderr))
				_exit(1);
			do_operation(&run->scene, o, draw(&random) % 2);
		}
		waitpid(pid, NULL, 0);
	}
	return 0;
}

/* Looking ---------------------------------------------------------------------------------------------------------- */

static int judge(struct run *run)
{
	struct heapd_verify_result result = HEAPD_SIZED(result);
	struct heapd_info info = HEAPD_SIZED(info);
	int r = heapd_verify(run->scene.heap, &result);

	if (r != 0)
		return printf("verify: %s\n", r < 0 ? heapd_error() : result.first), 1;
	for (unsigned i = 0; i < 2; i++)
		if ((r = heapd_collect(run->scene.heap)) < 0)
			return printf("collect: %s\n", heapd_error()), 1;
	r = heapd_verify(run->scene.heap, &result);
	if (r != 0)
		return printf("verify: %s\n", r < 0 ? heapd_error() : result.first), 1;
	if (heapd_get_info(run->scene.heap, &info) < 0)
		return 1;
	run->shared->found = info.gc_live_objects;
	return 0;
}

static int look(struct run *run)
{
	struct board *board = run->scene.board;
	uint64_t end = fixture_now_ns() + LOOK / 2, progress = board->progress;
	int r;

	while (board->progress < progress + 8 && !*board->wrong)
		if (fixture_now_ns() > end)
			return printf("the witness does not go on\n"), 1;
		else
			usleep(200);
	run->shared->rest = 1;
	while (run->shared->rest != 2)
		usleep(200);
	while (fixture_now_ns() < run->shared->until)
		usleep(10000);
	guards_check(&run->scene);
	scene_clear(&run->scene);
	witness_pause(&run->scene);
	r = judge(run);
	witness_resume(&run->scene);
	run->shared->rest = 0;
	return r;
}

/* A process of its own, there from the start: this one has to answer its tracees meanwhile, and cannot fork without them. */
static int looker(void *arg)
{
	struct run *run = arg;

	for (; !run->scene.board->stop; usleep(200)) {
		if (!run->shared->ask)
			continue;
		run->shared->ask = 0;
		run->shared->verdict = look(run) ? BAD : GOOD;
		fflush(NULL);
	}
	return 0;
}

static void look_now(struct run *run)
{
	run->lives.nbreaks = 0;
	run->looks++;
	run->shared->verdict = 0;
	run->shared->ask = 1;
	lives_run(&run->lives, &run->shared->verdict, LOOK, false);
	if (*run->scene.board->wrong)
		errx(1, "%s", run->scene.board->wrong);
	if (run->shared->verdict != GOOD)
		errx(1, "the heap is not what it should be%s",
		     run->shared->verdict ? "" : ": it is not even told");
	if (run->live && run->shared->found != run->live)
		errx(1, "%" PRIu64 " objects are alive after two collections, not %" PRIu64,
		     run->shared->found, run->live);
	run->live = run->shared->found;
}

/* Killing ---------------------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct run *run, const char *name)
{
	if (run->functions)
		return strncmp(name, run->functions, strlen(run->functions)) == 0;
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static void find_targets(struct run *run)
{
	const struct text *t = &run->daemon;

	run->targets = calloc(t->ninstructions, sizeof(*run->targets));
	if (!run->targets)
		err(1, "calloc");
	for (size_t i = 0; i < t->ninstructions; i++)
		if (t->instructions[i].writes && is_wanted(run, t->symbols[t->instructions[i].symbol].name))
			run->targets[run->ntargets++] = (struct target){ .at = t->instructions[i].at };
	/* In another order each time. */
	for (size_t i = run->ntargets; i > 1; i--) {
		size_t j = draw(&run->seed) % i;
		struct target swapped = run->targets[j];

		run->targets[j] = run->targets[i - 1];
		run->targets[i - 1] = swapped;
	}
}

/* Up to four that have not had their turn, those first that were tried least. */
static size_t pick(struct run *run, struct target **picked)
{
	size_t n = 0;

	for (unsigned tries = 0; tries < run->again && n < LIVES_BREAKS; tries++)
		for (size_t i = 0; i < run->ntargets && n < LIVES_BREAKS; i++)
			if (!run->targets[i].hit && run->targets[i].tries == tries)
				picked[n++] = &run->targets[i];
	return n;
}

/* The last deaths, for who ends in dismay. */
static char last[BATCH][128];

static void remember(const char *name)
{
	memmove(last[0], last[1], sizeof(last) - sizeof(last[0]));
	snprintf(last[BATCH - 1], sizeof(last[0]), "%s", name);
}

static void say_last(void)
{
	for (unsigned i = 0; i < BATCH && *last[BATCH - 1]; i++)
		fprintf(stderr, "killed at %s\n", last[i]);
}

static void note(struct run *run, struct target **picked, size_t n)
{
	char name[128];

	for (size_t i = 0; i < n; i++) {
		if (run->lives.hit == picked[i]->at) {
			picked[i]->hit = true;
			run->deaths++;
			text_name(&run->daemon, picked[i]->at, name, sizeof(name));
			run->recoveries += strncmp(name, "rebuild", 7) == 0 ||
					   strncmp(name, "recover", 7) == 0;
			remember(name);
		} else if (!run->lives.hit) {
			picked[i]->tries++;
		}
	}
}

static bool live_once(struct run *run)
{
	struct target *picked[LIVES_BREAKS];
	uint64_t breaks[LIVES_BREAKS];
	size_t n = pick(run, picked);

	for (size_t i = 0; i < n; i++)
		breaks[i] = picked[i]->at;
	run->lives.breaks = breaks;
	run->lives.nbreaks = n;
	/* The daemon that has none of these dies; the next one is born with them. */
	lives_run(&run->lives, 0, 0, true);
	lives_run(&run->lives, 0, LIFE + 5000 * MS * (run->lives.born == 0), true);
	note(run, picked, n);
	return n > 0;
}

static void report(struct run *run)
{
	size_t hit = 0;
	char name[128];

	for (size_t i = 0; i < run->ntargets; i++) {
		hit += run->targets[i].hit;
		if (!run->targets[i].hit && run->targets[i].tries >= run->again)
			printf("  not come to: %s\n",
			       text_name(&run->daemon, run->targets[i].at, name, sizeof(name)));
	}
	printf("%zu of %zu stores, %" PRIu64 " deaths, of them %" PRIu64 " in a recovery; %" PRIu64
	       " daemons; the heap looked at %" PRIu64 " times\n",
	       hit, run->ntargets, run->deaths, run->recoveries, run->lives.born, run->looks);
}

static void begin(struct run *run)
{
	static const char *const settings[] = { "heap.test.GCPercent=100", "daemon.LogLevel=err", NULL };
	const char *build = getenv("HEAPD_TEST_BUILD");
	char program[4096];
	void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		err(1, "mmap");
	run->shared = shared;
	snprintf(program, sizeof(program), "%s/heapd", build ? build : "build");
	run->seed = fixture_seed() | 1;
	text_load_file(&run->daemon, program, 0);
	find_targets(run);
	fixture_start_kept(&run->fixture, settings);
	scene_init(&run->scene, 0);
	run->witness = witness_start(&run->scene);
	run->crowd = fixture_client_fork(crowd, run);
	run->looker = fixture_client_fork(looker, run);
	lives_begin(&run->lives, run->fixture.daemon);
	run->lives.daemon = fixture_kept_daemon(&run->fixture);
}

static void finish(struct run *run)
{
	lives_end(&run->lives);
	run->scene.board->stop = 1;
	fixture_wait(run->crowd, 0);
	fixture_wait(run->looker, 0);
	fixture_wait(run->witness, 0);
	if (heapd_detach(run->scene.heap) < 0)
		errx(1, "%s", heapd_error());
	fixture_stop(&run->fixture);
	text_free(&run->daemon);
}

static void read_options(struct run *run, int argc, char **argv)
{
	static const struct option options[] = { { "most", required_argument, NULL, 'm' },
						 { "functions", required_argument, NULL, 'f' },
						 { "again", required_argument, NULL, 'a' },
						 { 0 } };
	int c;

	run->again = 3;
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'm')
			run->most = (unsigned)atoi(optarg);
		else if (c == 'a')
			run->again = (unsigned)atoi(optarg);
		else if (c == 'f')
			run->functions = optarg;
		else
			exit(2);
	}
}

int main(int argc, char **argv)
{
	static struct run run;
	bool more = true;

	read_options(&run, argc, argv);
	begin(&run);
	look_now(&run);
	atexit(say_last);
	while (more && (!run.most || run.deaths < run.most)) {
		for (unsigned i = 0; more && i < BATCH; i++)
			more = live_once(&run);
		lives_run(&run.lives, 0, 0, true);
		look_now(&run);
	}
	memset(last, 0, sizeof(last));
	report(&run);
	finish(&run);
	return 0;
}
