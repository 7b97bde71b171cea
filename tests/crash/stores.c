/* SPDX-License-Identifier: MIT */
/*
 * The daemon, killed before each of its stores: stores [--most N] [--file NAME] [--again N] [--set SETTING]... [--cover FILE]
 * [--sites FILE] [--pass] [--chore NAME] [--plain]
 *
 * Each instruction of the daemon's that writes to memory other than its stack has its turn, but for files that keep nothing that
 * another daemon finds (own_files): a daemon has breaks on those that had none yet, works for clients that come, die, allocate,
 * free and collect, and is killed as it comes to one. The next one recovers, with breaks on what is left: so recoveries are
 * killed, too, and recoveries from those. A daemon that came to none in so many operations of the clients' is counted; after some
 * such in a row nothing new is waited for.
 *
 * With --pass none is killed at a store: which stores its clients lead it to is learnt, in a few of its lives. With --chore they do
 * nothing but that. With --plain there are no heaps of other settings (burdens.c), which each daemon has to adopt.
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
#include "crowd.h"
#include "daemon/connection.h"
#include "lives.h"
#include "scene.h"
#include "text.h"

#define PROGRAM "crash/heapd"
#define MS      UINT64_C(1000000)
#define BATCH   8u  /* deaths between two looks */
#define LIFE    96u /* operations of clients' that a daemon lives for if it comes to no break */
#define BRIEF   4u  /* one in four is asked to end sooner */
#define SINGLE  12u /* ... for if they do nothing but one chore */
#define EARLY   2u  /* daemons in a row that may die before they answer: the keeper's pauses grow with them */
#define AGAIN   64u /* of those that had a death, one in so many has another */
#define EVES    8u  /* one in so many */
#define EXTRAS  1200u /* heaps that come up, every four lives another: each is made anew, and kept */
#define MANY    8u    /* in one of so many lives there are more heaps than one answer names */
#define MANIES  8u    /* so many more */
#define LONG    (60000 * MS)
#define LOOK    (60000 * MS)
/* So long a child may be expected that was never born: its session is there as long. */
#define CHILD    ((CONNECTION_CHILD_SECONDS + 15) * UINT64_C(1000) * MS)
#define SESSIONS 4u /* this process's, the witness's, the crowd's and the looker's */

enum verdict { GOOD = 1, BAD };

/* Between this process, the crowd and the looker. */
struct shared {
	struct crowd_words crowd;
	_Atomic uint64_t found, live; /* objects alive, and at first; 0: not known */
	_Atomic uint32_t ask, verdict;
};

struct run {
	struct fixture fixture;
	struct scene scene;
	struct crowd clients;
	struct text daemon;
	struct lives lives;
	struct instruction **sites; /* by address; covered: a daemon died there */
	uint64_t *breaks;
	size_t nsites;
	uint64_t seed;
	uint64_t deaths, recoveries, looks;
	uint64_t fresh; /* deaths at stores that had none */
	unsigned most, again;
	unsigned early, barren; /* in a row */
	const char *file, *cover, *list, *chore;
	bool pass, plain;
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
	if (fixture_verify(&run->fixture, CHORES_HEAP) != 0 ||
	    (!run->plain && (fixture_verify(&run->fixture, "hard") != 0 || !spoils_verify(&run->fixture))))
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
	uint64_t end = fixture_now_ns() + CHILD;
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
	run->shared->crowd.rest = 1;
	while (run->shared->crowd.rest != 2)
		usleep(200);
	if (wait_sessions(run))
		return 1;
	if (run->shared->crowd.tickets)
		scene_pass(1100 * MS);
	run->shared->crowd.tickets = 0;
	chores_clear(&run->scene);
	guards_check(&run->scene);
	stage_check(&run->scene);
	scene_clear(&run->scene);
	witness_pause(&run->scene);
	r = judge(run);
	if (r == 0 && run->shared->live && run->shared->found != run->shared->live)
		say_alive(run);
	witness_resume(&run->scene);
	run->shared->crowd.rest = 0;
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
	lives_run(&run->lives, &run->shared->verdict, LOOK + CHILD, false);
	if (*run->scene.board->wrong)
		errx(1, "%s", run->scene.board->wrong);
	if (run->shared->verdict != GOOD)
		errx(1, "the heap is not what it should be%s",
		     run->shared->verdict ? "" : ": it is not even told");
	if (run->shared->live && run->shared->found != run->shared->live)
		errx(1, "%" PRIu64 " objects are alive after two collections, not %" PRIu64,
		     run->shared->found, run->shared->live);
	run->shared->live = run->shared->found;
	if (run->cover)
		cover_write(&run->daemon, run->cover);
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
	run->shared->crowd.left = 0;
	run->shared->crowd.done = 0;
	run->shared->crowd.left = operations;
}

/* What the process runs that takes memory together: nobody traces it, and a break there would be its end, not the daemon's. */
static bool is_others(const char *file, const char *name)
{
	return strcmp(file, "collapser.c") == 0 && strcmp(name, "serve") == 0;
}

/* The functions of the daemon's files, as nm lists them: "address t name<TAB>path/file.c:line". */
static void find_functions(struct run *run, bool *wanted)
{
	char command[512], path[512], name[128], *line = NULL;
	unsigned long long at;
	size_t room = 0;
	FILE *listing;

	snprintf(command, sizeof(command), "nm -l --defined-only '%s'", run->daemon.path);
	listing = popen(command, "re");
	if (!listing)
		err(1, "nm");
	while (getline(&line, &room, listing) > 0) {
		const char *file = sscanf(line, "%llx %*c %127s %511[^:]", &at, name, path) == 3
					   ? strstr(path, "/daemon/")
					   : NULL;
		const struct instruction *in = file ? text_find(&run->daemon, at) : NULL;

		file += file ? strlen("/daemon/") : 0;
		if (in)
			wanted[in->symbol] = is_wanted(run, file) && !is_others(file, name);
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
	run->lives.were = calloc(t->ninstructions, 1);
	if (!run->sites || !run->breaks || !run->lives.were || !wanted)
		err(1, "calloc");
	find_functions(run, wanted);
	for (size_t i = 0; i < t->ninstructions; i++)
		if (t->instructions[i].writes && wanted[t->instructions[i].symbol])
			run->sites[run->nsites++] = &t->instructions[i];
	free(wanted);
}

/* Where one passes only after a death at one certain store: always among them. */
static bool is_rebirth(const struct run *run, const struct instruction *in)
{
	static const char *const words[] = { "rebuild", "recover", "restore", "entry_undo", "_init" };
	const char *name = run->daemon.symbols[in->symbol].name;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(name, words[i]))
			return true;
	return false;
}

/* A death at one of these leaves something that only the next daemon's recovery passes. */
static bool is_eve(const struct run *run, const struct instruction *in)
{
	static const char *const names[] = { "ring_withdraw", "ring_fill", "count_out", "spans_cut_large",
					     "types_class" };
	const char *name = run->daemon.symbols[in->symbol].name;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* Nothing but what is missing of recoveries, and some of what comes before them. False: nothing of them is missing. */
static bool choose_eve(struct run *run)
{
	size_t n = 0;
	bool missing = false;

	for (size_t i = 0; i < run->nsites; i++) {
		const struct instruction *in = run->sites[i];
		bool wanted = !in->covered && is_rebirth(run, in);

		missing |= wanted;
		if (wanted || (is_eve(run, in) && crowd_draw(&run->seed) % EVES == 0))
			run->breaks[n++] = in->at;
	}
	run->lives.breaks = run->breaks;
	run->lives.nbreaks = n;
	return missing;
}

/*
 * Of those that had none yet all, or by chance one in 4, or in 16: not always the same that come first. For the sake of what comes after
 * a death, every other time also some of those that had one.
 */
static bool choose_breaks(struct run *run)
{
	uint64_t among = UINT64_C(1) << 2 * (crowd_draw(&run->seed) % 3);
	bool again = !run->pass && !run->most && crowd_draw(&run->seed) % 2;
	size_t n = 0;

	if (again && crowd_draw(&run->seed) % 2 && choose_eve(run))
		return false;
	if (run->barren || run->pass)
		among = 1;
	for (size_t i = 0; i < run->nsites; i++) {
		const struct instruction *in = run->sites[i];

		if (in->covered ? again && crowd_draw(&run->seed) % AGAIN == 0
				: is_rebirth(run, in) || crowd_draw(&run->seed) % among == 0)
			run->breaks[n++] = in->at;
	}
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

	run->fresh += !text_find(&run->daemon, run->lives.hit)->covered;
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
	for (unsigned i = 0; run->lives.born % MANY == MANY - 1 && i < MANIES; i++)
		fprintf(file, "\n[Heap many%u]\nSize=64M\nLimit=32M\nHugePages=never\n", i);
	if (run->lives.born % 8 > 1)
		fprintf(file,
			"\n[Heap extra%u]\nSize=64M\nLimit=32M\nHugePages=never\nGCPercent=%s\nFree=%s\nUserShare=%u%%\n",
			(unsigned)(run->lives.born / 4 % EXTRAS), run->lives.born % 2 ? "off" : "100",
			run->lives.born / 16 % 2 && run->lives.born % 2 == 0 ? "checked" : "prompt",
			(unsigned)(10 + run->lives.born % 3));
	if (fclose(file) != 0 || rename(path, run->fixture.config) < 0)
		err(1, "%s", run->fixture.config);
}

/* A life without a death: half of them end by being asked to. */
static void end_well(struct run *run)
{
	vary(run);
	if (crowd_draw(&run->seed) % 2)
		lives_ask(&run->lives, LONG);
}

/* Early: its breaks are there from its birth; else it has answered before. Returns whether all that are left were tried in vain. */
static bool live_once(struct run *run)
{
	/* Where none is killed each way has its turn. */
	bool early = run->pass ? run->lives.born % 2 : run->early < EARLY, all = false,
	     brief = crowd_draw(&run->seed) % 4 == 0;
	uint64_t fresh = run->fresh;

	run->lives.nbreaks = 0;
	if (early)
		all = choose_breaks(run);
	vary(run);
	/* The one before dies; the next one is born with them. */
	lives_run(&run->lives, 0, 0, true);
	wait_for(run, !early ? 2 : brief ? BRIEF : run->chore ? SINGLE : LIFE);
	lives_run(&run->lives, &run->shared->crowd.done, LONG, false);
	if (!early) {
		run->early = 0;
		all = choose_breaks(run);
		wait_for(run, brief ? BRIEF : run->chore ? SINGLE : LIFE);
		lives_arm(&run->lives);
		vary(run);
		if (crowd_draw(&run->seed) % 2 && run->lives.daemon)
			kill(run->lives.daemon, SIGHUP);
		lives_run(&run->lives, &run->shared->crowd.done, LONG, false);
	}
	if (!run->lives.hit)
		end_well(run);
	if (run->lives.hit)
		note(run, early);
	if (run->fresh != fresh)
		run->barren = 0;
	else
		run->barren += all && !brief && !run->lives.hit;
	return run->barren >= run->again;
}

static void note_pass(void *arg, uint64_t at)
{
	struct run *run = arg;

	text_find(&run->daemon, at)->covered = true;
	run->fresh++;
}

static void report(struct run *run)
{
	size_t covered = 0;

	for (size_t i = 0; i < run->nsites; i++)
		covered += run->sites[i]->covered;
	printf("%zu of %zu stores, %" PRIu64 " deaths, of them %" PRIu64 " in a recovery; %" PRIu64
	       " daemons; the heap looked at %" PRIu64 " times\n",
	       covered, run->nsites, run->deaths, run->recoveries, run->lives.born, run->looks);
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
	snprintf(program, sizeof(program), "%s/" PROGRAM, build ? build : "build");
	setenv("HEAPD_TEST_DAEMON", PROGRAM, 1);
	run->seed = fixture_seed() | 1;
	text_load_file(&run->daemon, program, 0);
	find_sites(run);
	if (run->list)
		list_sites(run);
	if (run->cover)
		cover_read(&run->daemon, run->cover);
	/* The daemon has somebody to tell that it gets on. */
	setenv("WATCHDOG_USEC", "2000000", 1);
	fixture_start_kept(&run->fixture, run->settings);
	run->config = read_config(run);
	scene_init(&run->scene, 0);
	run->scene.board->keeper = run->fixture.daemon;
	run->witness = witness_start(&run->scene);
	run->clients = (struct crowd){
		.scene = &run->scene, .words = &run->shared->crowd, .chore = run->chore, .seed = run->seed
	};
	run->crowd = fixture_client_fork(crowd_run, &run->clients);
	run->looker = fixture_client_fork(looker, run);
	if (heapd_thread_detach(run->scene.heap) < 0)
		errx(1, "%s", heapd_error());
	if (run->pass)
		run->lives.pass = note_pass, run->lives.arg = run;
	lives_begin(&run->lives, run->fixture.daemon);
	run->lives.daemon = fixture_kept_daemon(&run->fixture);
}

/* The heaps in which clients have lied to each other are not what they say: they have been looked at in another way. */
static void leave_spoilt(struct fixture *f)
{
	static const char *const names[] = { "heap." CHORES_SPOILT ".", "heap." CHORES_UNUSED "." };

	for (size_t i = 0; i < f->nsettings; i++)
		for (size_t n = 0; n < 2; n++)
			if (strncmp(f->settings[i], names[n], strlen(names[n])) == 0)
				f->settings[i] = "daemon.LogLevel=err";
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
	leave_spoilt(&run->fixture);
	fixture_stop(&run->fixture);
	text_free(&run->daemon);
	free(run->sites);
	free(run->breaks);
	free(run->lives.were);
	free(run->config);
}

static void read_options(struct run *run, int argc, char **argv)
{
	static const struct option options[] = {
		{ "most", required_argument, NULL, 'm' },  { "file", required_argument, NULL, 'f' },
		{ "again", required_argument, NULL, 'a' }, { "set", required_argument, NULL, 's' },
		{ "cover", required_argument, NULL, 'c' }, { "sites", required_argument, NULL, 'l' },
		{ "chore", required_argument, NULL, 'C' }, { "pass", no_argument, NULL, 'p' },
		{ "plain", no_argument, NULL, 'P' },       { 0 }
	};
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
		else if (c == 'C')
			run->chore = optarg;
		else if (c == 'p')
			run->pass = true;
		else if (c == 'P')
			run->plain = true;
		else if (c == 's' && n + 1 < FIXTURE_SETTINGS)
			run->settings[n++] = optarg;
		else
			exit(2);
	}
	for (size_t i = 0; !run->plain && burdens_settings[i] && n + 1 < FIXTURE_SETTINGS; i++)
		run->settings[n++] = burdens_settings[i];
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
		for (unsigned i = 0; !over && i < BATCH && (!run.most || run.deaths < run.most); i++)
			over = live_once(&run);
		lives_run(&run.lives, 0, 0, true);
		look_now(&run);
	}
	memset(last, 0, sizeof(last));
	report(&run);
	finish(&run);
	return 0;
}
