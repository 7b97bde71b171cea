/* SPDX-License-Identifier: MIT */
/*
 * The daemon, killed before each of its stores: stores [--most N] [--file NAME] [--again N] [--set SETTING]... [--cover FILE]
 * [--sites FILE]
 *
 * Each instruction of the daemon's that writes to memory other than its stack has its turn, but for files that keep nothing that
 * another daemon finds (own_files): a daemon has breaks on those that had none yet, works for clients that come, die, allocate,
 * free and collect, and is killed as it comes to one. The next one recovers, with breaks on what is left: so recoveries are
 * killed, too, and recoveries from those. A daemon that came to none in so many operations of the clients' is counted; after some
 * such in a row nothing new is waited for.
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
#include "chores.h"
#include "cover.h"
#include "lives.h"
#include "scene.h"
#include "text.h"

#define MS       UINT64_C(1000000)
#define BATCH    8u  /* deaths between two looks */
#define LIFE     96u /* operations of clients' that a daemon lives for if it comes to no break */
#define EARLY    2u /* daemons in a row that may die before they answer: the keeper's pauses grow with them */
#define EXTRAS   24u /* heaps that come up */
#define LONG     (60000 * MS)
#define LOOK     (60000 * MS)
#define SESSIONS 4u /* this process's, the witness's, the crowd's and the looker's */

enum verdict { GOOD = 1, BAD };

/* Between this process, the crowd and the looker. */
struct shared {
	_Atomic uint64_t found, live; /* objects alive, and at first; 0: not known */
	_Atomic uint32_t tickets;     /* were issued since somebody looked, for a second each */
	_Atomic uint32_t rest;        /* the crowd is to stay away; 2: it does */
	_Atomic uint32_t left;        /* operations of the crowd's until it says that they are done */
	_Atomic uint32_t done;
	_Atomic uint32_t ask, verdict;
};

struct run {
	struct fixture fixture;
	struct scene scene;
	struct text daemon;
	struct lives lives;
	struct instruction **sites; /* by address; covered: a daemon died there */
	uint64_t *breaks;
	size_t nsites;
	uint64_t seed;
	uint64_t deaths, recoveries, looks;
	unsigned most, again;
	unsigned early, barren; /* in a row */
	const char *file, *cover, *list;
	char *config;
	const char *settings[FIXTURE_SETTINGS];
	pid_t witness, crowd, looker;
	struct shared *shared;
};

/* What they write is gone with the daemon, or it is the keeper that runs them. */
static const char *const own_files[] = {
	"config.c",  "configaccess.c", "configcheck.c", "configfile.c", "configset.c", "configtable.c",
	"inifile.c", "value.c",        "keep.c",        "kept.c",       "notice.c",    "log.c",
	"journal.c", "path.c",         "fields.c",      "main.c",
};

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The crowd: clients that come, do one operation, and leave or die. -------------------------------------------------- */

/* Either an operation or a chore; who does not come to its end is killed. */
struct errand {
	const struct operation *operation;
	const struct chore *chore;
	bool die;
};

static struct errand draw_errand(uint64_t *random)
{
	struct errand e = { .operation = &scene_operations[draw(random) % scene_noperations] };

	e.die = draw(random) % 2;
	if (draw(random) % 4 == 0)
		e.chore = &scene_chores[draw(random) % scene_nchores];
	else if (e.operation->where != IN_MAIN && e.operation->where != IN_THREAD)
		e.chore = &scene_chores[0];
	return e;
}

static void run_errand(struct scene *s, const struct errand *e)
{
	alarm(10);
	if (e->chore) {
		e->chore->run(s);
	} else {
		if (e->operation->prepare)
			e->operation->prepare(s);
		e->operation->run(s);
	}
	if (e->die)
		raise(SIGKILL);
	_exit(0);
}

static int crowd(void *arg)
{
	struct run *run = arg;
	uint64_t random = run->seed;

	signal(SIGCHLD, SIG_DFL);
	while (!run->scene.board->stop) {
		struct errand e = draw_errand(&random);
		pid_t me = getpid(), pid;

		if (run->shared->rest) {
			/* Old words of its stack would keep what they lead to. */
			if (run->shared->rest == 1 && heapd_thread_detach(run->scene.heap) < 0)
				errx(1, "%s", heapd_error());
			run->shared->rest = 2;
			usleep(1000);
			continue;
		}
		pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != me || !freopen("/dev/null", "w", stderr))
				_exit(1);
			run_errand(&run->scene, &e);
		}
		waitpid(pid, NULL, 0);
		if (run->scene.board->scarce % 2)
			chores_clear(&run->scene);
		if (!e.chore && e.operation->seconds)
			run->shared->tickets = 1;
		if (run->shared->left && --run->shared->left == 0)
			run->shared->done = 1;
	}
	return 0;
}

/* Looking ---------------------------------------------------------------------------------------------------------- */

static int verify(struct run *run)
{
	struct heapd_verify_result result = HEAPD_SIZED(result);
	int r = heapd_verify(run->scene.heap, &result);

	return r ? printf("verify: %s\n", r < 0 ? heapd_error() : result.first), 1 : 0;
}

/* What this thread has in its hands is nobody's: it is detached before it is counted what is alive. */
static int judge(struct run *run)
{
	struct heapd_info info = HEAPD_SIZED(info);

	if (verify(run))
		return 1;
	for (unsigned i = 0; i < 2; i++)
		if (heapd_thread_detach(run->scene.heap) < 0 || heapd_collect(run->scene.heap) < 0)
			return printf("collect: %s\n", heapd_error()), 1;
	if (fixture_verify(&run->fixture, CHORES_HEAP) != 0)
		return 1;
	if (verify(run) || heapd_get_info(run->scene.heap, &info) < 0)
		return 1;
	run->shared->found = info.gc_live_objects;
	return 0;
}

/* What lives at rest: the stage, its nodes, its guards, and the witness's ring. */
static bool is_at_rest(const struct stage *stage, const void *object)
{
	const struct node *first = heapd_load(&stage->witness), *n = first;

	for (unsigned i = 0; i < SCENE_NODES; i++)
		if (object == heapd_load(&stage->node[i]))
			return true;
	for (unsigned g = 0; g < SCENE_GUARDS; g++)
		if (object == heapd_load(&stage->guard[g]))
			return true;
	for (unsigned i = 0; n && n != object && i < SCENE_RING; i++) {
		n = heapd_load(&n->next);
		if (n == first)
			break;
	}
	return object == stage || (n && n == object);
}

/* Which other objects something leads to, and what. */
static void say_alive(struct run *run)
{
	const struct heapd_tables *t = &run->scene.tables;
	char text[512];

	for (uint64_t page = 0; page < t->size / HEAPD_PAGE_SIZE; page++) {
		const struct heapd_span *span = &t->spans[page];
		uint64_t bytes = t->page_span[page] == page + 1 ? (uint64_t)span->npages * HEAPD_PAGE_SIZE
								: 0;

		for (uint64_t at = 0; bytes && at + span->elemsize <= bytes; at += span->elemsize) {
			const void *object = (const void *)(uintptr_t)(t->base + page * HEAPD_PAGE_SIZE + at);

			if (!is_at_rest(run->scene.stage, object) &&
			    heapd_path_to(run->scene.heap, object, text, sizeof(text)) >= 0)
				printf("%p, of %u bytes: %s\n", object, (unsigned)span->elemsize, text);
		}
	}
}

static int wait_sessions(struct run *run)
{
	uint64_t end = fixture_now_ns() + LOOK / 2;
	struct heapd_info info = HEAPD_SIZED(info);

	while (heapd_get_info(run->scene.heap, &info) >= 0 && info.sessions != SESSIONS) {
		if (fixture_now_ns() > end)
			return printf("%u sessions, not %u\n", (unsigned)info.sessions, SESSIONS), 1;
		usleep(1000);
	}
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
	if (wait_sessions(run))
		return 1;
	if (run->shared->tickets)
		scene_pass(1100 * MS);
	run->shared->tickets = 0;
	chores_clear(&run->scene);
	guards_check(&run->scene);
	stage_check(&run->scene);
	scene_clear(&run->scene);
	witness_pause(&run->scene);
	r = judge(run);
	if (r == 0 && run->shared->live && run->shared->found != run->shared->live)
		say_alive(run);
	witness_resume(&run->scene);
	run->shared->rest = 0;
	return r;
}

/* A process of its own, there from the start: this one has to answer its tracees meanwhile, and cannot fork without them. */
static int looker(void *arg)
{
	struct run *run = arg;
	int bad;

	for (; !run->scene.board->stop; usleep(200)) {
		if (!run->shared->ask)
			continue;
		run->shared->ask = 0;
		bad = look(run);
		fflush(NULL);
		run->shared->verdict = bad ? BAD : GOOD;
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
	if (run->shared->live && run->shared->found != run->shared->live)
		errx(1, "%" PRIu64 " objects are alive after two collections, not %" PRIu64,
		     run->shared->found, run->shared->live);
	run->shared->live = run->shared->found;
}

/* Killing ---------------------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct run *run, const char *file)
{
	if (run->file)
		return strcmp(file, run->file) == 0;
	for (size_t i = 0; i < sizeof(own_files) / sizeof(own_files[0]); i++)
		if (strcmp(file, own_files[i]) == 0)
			return false;
	return true;
}

static void wait_for(struct run *run, uint32_t operations)
{
	run->shared->left = 0;
	run->shared->done = 0;
	run->shared->left = operations;
}

/* The functions of the daemon's files, as nm lists them: "address t name<TAB>path/file.c:line". */
static void find_functions(struct run *run, bool *wanted)
{
	char command[512], path[512], *line = NULL;
	unsigned long long at;
	size_t room = 0;
	FILE *listing;

	snprintf(command, sizeof(command), "nm -l --defined-only '%s'", run->daemon.path);
	listing = popen(command, "re");
	if (!listing)
		err(1, "nm");
	while (getline(&line, &room, listing) > 0) {
		const char *file = sscanf(line, "%llx %*c %*s %511[^:]", &at, path) == 2
					   ? strstr(path, "/daemon/")
					   : NULL;
		const struct instruction *in = file ? text_find(&run->daemon, at) : NULL;

		if (in)
			wanted[in->symbol] = is_wanted(run, file + strlen("/daemon/"));
	}
	free(line);
	if (pclose(listing) != 0)
		errx(1, "nm %s", run->daemon.path);
}

static void find_sites(struct run *run)
{
	const struct text *t = &run->daemon;
	bool *wanted = calloc(t->nsymbols, sizeof(*wanted));

	run->sites = calloc(t->ninstructions, sizeof(struct instruction *));
	run->breaks = calloc(t->ninstructions, sizeof(*run->breaks));
	if (!run->sites || !run->breaks || !wanted)
		err(1, "calloc");
	find_functions(run, wanted);
	for (size_t i = 0; i < t->ninstructions; i++)
		if (t->instructions[i].writes && wanted[t->instructions[i].symbol])
			run->sites[run->nsites++] = &t->instructions[i];
	free(wanted);
}

/* Of those that had none yet all, or by chance one in 4, or in 16: not always the same that come first. */
static bool choose_breaks(struct run *run)
{
	uint64_t among = UINT64_C(1) << 2 * (draw(&run->seed) % 3);
	size_t n = 0;

	if (run->barren)
		among = 1;
	for (size_t i = 0; i < run->nsites; i++)
		if (!run->sites[i]->covered && draw(&run->seed) % among == 0)
			run->breaks[n++] = run->sites[i]->at;
	run->lives.breaks = run->breaks;
	run->lives.nbreaks = n;
	return among == 1;
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

static void note(struct run *run, bool early)
{
	char name[128];

	text_find(&run->daemon, run->lives.hit)->covered = true;
	run->deaths++;
	text_name(&run->daemon, run->lives.hit, name, sizeof(name));
	run->recoveries += strncmp(name, "rebuild", 7) == 0 || strncmp(name, "recover", 7) == 0;
	run->early = early ? run->early + 1 : 0;
	remember(name);
}

/* The configuration that the next daemon reads, or this one if it is told to: with a heap more, which is another one after a while. */
static void vary(struct run *run)
{
	char path[sizeof(run->fixture.config) + 8];
	FILE *file;

	snprintf(path, sizeof(path), "%s.new", run->fixture.config);
	file = fopen(path, "we");
	if (!file)
		err(1, "%s", path);
	fputs(run->config, file);
	if (run->lives.born % 4)
		fprintf(file, "\n[Heap extra%u]\nSize=64M\nLimit=32M\nHugePages=never\nGCPercent=off\n",
			(unsigned)(run->lives.born / 8 % EXTRAS));
	if (fclose(file) != 0 || rename(path, run->fixture.config) < 0)
		err(1, "%s", run->fixture.config);
}

/* A life without a death: half of them end by being asked to. */
static void end_well(struct run *run)
{
	vary(run);
	if (draw(&run->seed) % 2)
		lives_ask(&run->lives, LONG);
}

/* Early: its breaks are there from its birth; else it has answered before. Returns whether all that are left were tried in vain. */
static bool live_once(struct run *run)
{
	bool early = run->early < EARLY, all = false;

	run->lives.nbreaks = 0;
	if (early)
		all = choose_breaks(run);
	vary(run);
	/* The one before dies; the next one is born with them. */
	lives_run(&run->lives, 0, 0, true);
	wait_for(run, early ? LIFE : 2);
	lives_run(&run->lives, &run->shared->done, LONG, false);
	if (!early) {
		run->early = 0;
		all = choose_breaks(run);
		wait_for(run, LIFE);
		lives_arm(&run->lives);
		vary(run);
		if (draw(&run->seed) % 2 && run->lives.daemon)
			kill(run->lives.daemon, SIGHUP);
		lives_run(&run->lives, &run->shared->done, LONG, false);
	}
	if (!run->lives.hit)
		end_well(run);
	if (run->lives.hit)
		note(run, early);
	if (run->lives.hit || all)
		run->barren = run->lives.hit ? 0 : run->barren + 1;
	return run->barren >= run->again;
}

static void report(struct run *run)
{
	size_t covered = 0;
	char name[128];

	for (size_t i = 0; i < run->nsites; i++) {
		covered += run->sites[i]->covered;
		if (!run->sites[i]->covered && !run->most)
			printf("  not come to: %s\n",
			       text_name(&run->daemon, run->sites[i]->at, name, sizeof(name)));
	}
	printf("%zu of %zu stores, %" PRIu64 " deaths, of them %" PRIu64 " in a recovery; %" PRIu64
	       " daemons; the heap looked at %" PRIu64 " times\n",
	       covered, run->nsites, run->deaths, run->recoveries, run->lives.born, run->looks);
	if (run->cover)
		cover_write(&run->daemon, run->cover);
}

static void list_sites(const struct run *run)
{
	FILE *file = fopen(run->list, "we");

	if (!file)
		err(1, "%s", run->list);
	for (size_t i = 0; i < run->nsites; i++)
		fprintf(file, "%" PRIx64 "\n", run->sites[i]->at);
	if (fclose(file) != 0)
		err(1, "%s", run->list);
}

static char *read_config(const struct run *run)
{
	FILE *file = fopen(run->fixture.config, "re");
	char *text = NULL;
	size_t room = 0;

	if (!file || getdelim(&text, &room, '\0', file) < 0 || fclose(file) != 0)
		err(1, "%s", run->fixture.config);
	return text;
}

static void begin(struct run *run)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	char program[4096];
	void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		err(1, "mmap");
	run->shared = shared;
	snprintf(program, sizeof(program), "%s/heapd", build ? build : "build");
	run->seed = fixture_seed() | 1;
	text_load_file(&run->daemon, program, 0);
	find_sites(run);
	if (run->list)
		list_sites(run);
	if (run->cover)
		cover_read(&run->daemon, run->cover);
	fixture_start_kept(&run->fixture, run->settings);
	run->config = read_config(run);
	scene_init(&run->scene, 0);
	run->witness = witness_start(&run->scene);
	run->crowd = fixture_client_fork(crowd, run);
	run->looker = fixture_client_fork(looker, run);
	if (heapd_thread_detach(run->scene.heap) < 0)
		errx(1, "%s", heapd_error());
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
	free(run->sites);
	free(run->breaks);
	free(run->config);
}

static void read_options(struct run *run, int argc, char **argv)
{
	static const struct option options[] = { { "most", required_argument, NULL, 'm' },
						 { "file", required_argument, NULL, 'f' },
						 { "again", required_argument, NULL, 'a' },
						 { "set", required_argument, NULL, 's' },
						 { "cover", required_argument, NULL, 'c' },
						 { "sites", required_argument, NULL, 'l' },
						 { 0 } };
	size_t n = 4;
	int c;

	run->again = 3;
	run->settings[0] = "heap.test.GCPercent=100";
	run->settings[1] = "daemon.LogLevel=err";
	run->settings[2] = "heap." CHORES_HEAP ".Size=64M";
	run->settings[3] = "heap." CHORES_HEAP ".GCPercent=100";
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'm')
			run->most = (unsigned)atoi(optarg);
		else if (c == 'a')
			run->again = (unsigned)atoi(optarg);
		else if (c == 'f')
			run->file = optarg;
		else if (c == 'c')
			run->cover = optarg;
		else if (c == 'l')
			run->list = optarg;
		else if (c == 's' && n + 1 < FIXTURE_SETTINGS)
			run->settings[n++] = optarg;
		else
			exit(2);
	}
}

int main(int argc, char **argv)
{
	static struct run run;
	bool over = false;

	read_options(&run, argc, argv);
	begin(&run);
	look_now(&run);
	atexit(say_last);
	while (!over && (!run.most || run.deaths < run.most)) {
		for (unsigned i = 0; !over && i < BATCH; i++)
			over = live_once(&run);
		lives_run(&run.lives, 0, 0, true);
		look_now(&run);
	}
	memset(last, 0, sizeof(last));
	report(&run);
	finish(&run);
	return 0;
}
