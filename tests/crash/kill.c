/* SPDX-License-Identifier: MIT */
/*
 * Any client, killed at any instruction: kill [--every N | --most N] [--operation NAME] [--barrier 0|1|2] [--batch N] [--cas]
 * [--hardened] [--all] [--fresh] [--more] [--stop] [--stores] [--wander N] [--wanderer SEED] [--cover FILE] [--set SETTING]...
 *
 * Each operation (operations.c) is run once under single steps to learn its way, then once for each of its places, and
 * killed there by SIGKILL. After each batch of deaths the heap is verified and the witness has gone on; after each
 * operation two collections have to find alive exactly what was alive before all of it.
 *
 * With --fresh only instructions are taken that nobody was killed at yet, and with --more other operations: varieties, which few
 * instructions are new in.
 *
 * With --stop it is not killed but stopped there by SIGSTOP, its other threads too, until the witness has done as much as it does in
 * three collections; one is asked for, and may wait for who is stopped; others may not. Then it goes on to its end, which has to be a
 * good one, and what it stores so late harms nobody. With --stores only instructions count, of the library's and of what its header
 * has put into this program, that store; a run of all of them fails if nobody was stopped at more than a few of those that operations come to.
 *
 * With --hardened the heap is (heapd/canary.h): no death in an allocation or a free may leave words of which somebody else says that
 * they were overwritten.
 *
 * With --wander N so many processes wander instead (wander.c), at their own pace, each until it comes to an instruction of the library that
 * nobody was killed at, and is killed there: threads, agents, handlers, children and all. A signal that nobody sent,
 * in any of them, is a failure; --wanderer SEED with the --operation and --barrier that it names has such a one again, without traps.
 *
 * --set has the daemon run with another setting than it has here: heap.test.Free=checked, heap.test.MarkerThreads=2.
 *
 * Seeds: HEAPD_TEST_SEED says which places are taken where not all are.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fixture.h"
#include "conditions.h"
#include "course.h"
#include "cover.h"
#include "traps.h"
#include "wander.h"

#define CYCLES 3u  /* a client is stopped for the time of so many */
#define OFTEN  16u /* times round that are not much like the others */
#define ALIKE  64u /* of those that are, one in so many is taken */
#define LEFT \
	12u /* stores, on ways that the daemon's pace decides, that hunts may miss; it may only go down */
#define HUNTS 64u  /* times that an operation is run again for one place */
#define LONG  256u /* times round that a short run does not wait for */
#define SETS  8u

struct options {
	unsigned every; /* of the places, one in so many */
	unsigned most;  /* of an operation; 0: no limit */
	unsigned batch; /* deaths before the heap is looked at */
	const char *only;
	unsigned barriers; /* bits of enum barrier */
	bool stop;         /* each is stopped there, while the others go on, and goes on itself */
	bool stores;       /* only instructions that store */
	bool by_cas;
	bool hardened;
	bool all;          /* none is left out for being much like another */
	bool fresh;        /* only instructions that nobody was killed at yet */
	bool more;         /* the other operations */
	unsigned wander;   /* processes that do, and nothing else */
	uint64_t wanderer; /* the seed of all of them; 0: each has its own */
	const char *cover; /* a file that keeps what was covered from run to run */
	const char *sets[SETS];
	unsigned nsets;
};

struct count {
	uint64_t operations, kills, missed, faults, sequences, checks;
};

struct run {
	struct options options;
	struct fixture fixture;
	struct fixture other; /* a daemon of whom nobody here is a client, in a run of more operations */
	struct scene scene;
	struct text library, program;
	struct count count;
	uint64_t seed;
	uint64_t live; /* objects, when nothing is going on */
	uint64_t sessions;
	uint64_t overwrites; /* found so far, and meant to be */
	uint64_t turns;      /* of the witness's, in CYCLES collections */
	pid_t witness;
};

static const char *const barrier_names[BARRIERS] = { "", ", barrier on", ", barrier on before the scan" };

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static struct heapd_info info_now(struct run *run)
{
	struct heapd_info info = HEAPD_SIZED(info);

	if (heapd_get_info(run->scene.heap, &info) < 0)
		errx(1, "%s", heapd_error());
	return info;
}

/* Looking at the heap ---------------------------------------------------------------------------------------------- */

static void wait_sessions(struct run *run, uint64_t wanted)
{
	uint64_t end = fixture_now_ns() + 20000000000u;

	while (info_now(run).sessions != wanted) {
		if (*run->scene.board->wrong)
			errx(1, "%s", run->scene.board->wrong);
		if (fixture_now_ns() > end)
			errx(1, "%" PRIu64 " sessions, not %" PRIu64, info_now(run).sessions, wanted);
		usleep(200);
	}
}

static void wait_turns(struct run *run, uint64_t turns)
{
	uint64_t begin = run->scene.board->progress, end = fixture_now_ns() + 20000000000u;

	while (run->scene.board->progress < begin + turns) {
		if (*run->scene.board->wrong)
			errx(1, "%s", run->scene.board->wrong);
		if (fixture_now_ns() > end)
			errx(1, "the witness does not go on");
		usleep(100);
	}
}

static void wait_witness(struct run *run)
{
	wait_turns(run, 8);
}

static void verify(struct run *run)
{
	struct heapd_verify_result result = HEAPD_SIZED(result);
	int r = heapd_verify(run->scene.heap, &result);

	if (r != 0)
		errx(1, "verify: %s", r < 0 ? heapd_error() : result.first);
}

static void look(struct run *run)
{
	run->count.checks++;
	wait_sessions(run, run->sessions);
	wait_witness(run);
	guards_check(&run->scene);
	stage_check(&run->scene);
	verify(run);
}

/* What two whole collections leave alive while nobody does anything. */
static uint64_t settle(struct run *run)
{
	scene_clear(&run->scene);
	witness_pause(&run->scene);
	wait_sessions(run, run->sessions);
	for (unsigned i = 0; i < 2; i++)
		if (heapd_collect(run->scene.heap) < 0)
			errx(1, "collect: %s", heapd_error());
	verify(run);
	witness_resume(&run->scene);
	return info_now(run).gc_live_objects;
}

static void all_reclaimed(struct run *run, const struct operation *operation)
{
	uint64_t live = settle(run);

	if (live != run->live)
		errx(1, "%s: %" PRIu64 " objects are alive after two collections, not %" PRIu64,
		     operation->name, live, run->live);
}

/* Killing ---------------------------------------------------------------------------------------------------------- */

/* The library's, or this program's own; NULL: another one's. */
static struct instruction *find(const struct run *run, uint64_t at)
{
	struct instruction *in = text_find(&run->library, at);

	return in ? in : text_find(&run->program, at);
}

static void cover(struct run *run, uint64_t at)
{
	struct instruction *in = find(run, at);

	if (in)
		in->covered = in->come_to = true;
}

static void say_batch(const struct run *run, const struct point *points, size_t n)
{
	char name[128];

	fprintf(stderr, "the deaths since the heap was last looked at (--batch 1 finds the one):\n");
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "  %s (%u.)\n", text_name(&run->library, points[i].at, name, sizeof(name)),
			points[i].nth);
}

/* What on_exit is told: which batch was under way if the program ends in its midst. What was covered is kept in any case. */
static struct batch {
	pid_t of;
	const struct run *run;
	const struct point *points;
	size_t n;
} batch_now;

static void cover_keep(const struct run *run)
{
	if (run->options.cover)
		cover_write(&run->library, run->options.cover);
}

static void on_exit_say(void)
{
	if (batch_now.of != getpid())
		return;
	cover_keep(batch_now.run);
	if (batch_now.n)
		say_batch(batch_now.run, batch_now.points, batch_now.n);
}

/* A cycle is asked for, and may wait for the one that is stopped; the witness does not. */
static void while_stopped(void *arg)
{
	struct run *run = arg;

	if (heapd_collect_start(run->scene.heap) < 0)
		errx(1, "collect: %s", heapd_error());
	wait_turns(run, run->turns);
}

/* How long collections take is counted by what the witness does meanwhile: so it is the same on a slow machine. */
static void measure_turns(struct run *run)
{
	uint64_t begin = run->scene.board->progress;

	for (unsigned i = 0; i < CYCLES; i++)
		if (heapd_collect(run->scene.heap) < 0)
			errx(1, "collect: %s", heapd_error());
	run->turns = run->scene.board->progress - begin;
	if (run->turns < 2 * SCENE_NODES)
		run->turns = 2 * SCENE_NODES;
}

static void kill_one(struct run *run, const struct stand *stand, const struct point *p)
{
	char name[128];

	switch (run->options.stop ? course_stop(stand, p, while_stopped, run) : course_kill(stand, p)) {
	case KILLED:
		run->count.kills++;
		run->count.sequences += p->entry != 0;
		cover(run, p->at);
		break;
	case MISSED:
		run->count.missed++;
		break;
	case STUCK:
		errx(1, "%s, to be killed or stopped at %s, did not begin or did not end",
		     stand->operation->name, text_name(&run->library, p->at, name, sizeof(name)));
	}
}

/* Deaths of a batch, beside a client that holds up the cycle where the barrier is to be on. */
static void kill_batch(struct run *run, const struct stand *stand, enum barrier barrier,
		       const struct point *points, size_t n)
{
	pid_t staller = barrier == BARRIER_OFF ? 0 : staller_start(&run->scene, barrier);

	batch_now.points = points;
	batch_now.n = n;
	for (size_t i = 0; i < n; i++)
		kill_one(run, stand, &points[i]);
	staller_end(staller);
	look(run);
	batch_now.n = 0;
}

/* The library's and this program's own instructions count, the first times round; others are like their neighbours. */
static bool is_much_like_others(const struct run *run, const struct point *p)
{
	if (p->nth > OFTEN || p->entry > OFTEN)
		return true;
	return !find(run, p->at);
}

/* One of the first that come there: a later one is another way to the same, and no better. */
static bool is_fresh(const struct run *run, const struct point *p)
{
	const struct instruction *in = text_find(&run->library, p->at);

	return in && !in->covered && p->nth <= 2 && p->entry <= 2;
}

/* Of the program's own stores those count that are the library's, inlined; which those are is not told: all. */
static bool is_unwanted(const struct run *run, const struct point *p)
{
	const struct instruction *in = find(run, p->at);

	if (run->options.fresh && !is_fresh(run, p))
		return true;
	if (run->options.stores && (!in || !in->writes))
		return true;
	/* Each time round costs a stop. */
	return run->options.most && p->nth > LONG;
}

static size_t keep(struct run *run, struct course *course, size_t every, bool alike)
{
	size_t n = 0;

	for (size_t i = 0; i < course->n; i++) {
		const struct point *p = &course->points[i];
		bool taken = alike && !is_much_like_others(run, p);

		if (is_unwanted(run, p))
			continue;
		if (taken || every <= 1 || random_next(&run->seed) % every == 0)
			course->points[n++] = *p;
	}
	return course->n = n;
}

/* Of the places those that are to be taken in this run. Returns how many. */
static size_t choose(struct run *run, struct course *course)
{
	size_t every = run->options.every;

	if (!run->options.all)
		keep(run, course, ALIKE, true);
	if (run->options.most && course->n / every > run->options.most)
		every = course->n / run->options.most;
	return keep(run, course, every, false);
}

static void come_to(struct run *run, const struct course *course, const struct operation *o,
		    enum barrier barrier)
{
	for (size_t i = 0; i < course->n; i++) {
		struct instruction *in = find(run, course->points[i].at);

		/* Of a sequence not all is on each pass: where somebody was stopped says what is. */
		if (!in || in->come_to || course->points[i].entry)
			continue;
		in->come_to = true;
		in->operation = o;
		in->barrier = (uint8_t)barrier;
	}
}

static void kill_course(struct run *run, const struct stand *stand, enum barrier barrier)
{
	struct course course;
	size_t n, places;
	pid_t staller = barrier == BARRIER_OFF ? 0 : staller_start(&run->scene, barrier);
	bool taken = course_take(stand, &course);

	staller_end(staller);
	if (!taken)
		errx(1, "%s%s: did not come to its end under single steps", stand->operation->name,
		     barrier_names[barrier]);
	wait_sessions(run, run->sessions);
	places = course.n;
	come_to(run, &course, stand->operation, barrier);
	n = choose(run, &course);
	for (size_t i = 0; i < n; i += run->options.batch)
		kill_batch(run, stand, barrier, course.points + i,
			   n - i < run->options.batch ? n - i : run->options.batch);
	printf("  %-18s %7" PRIu64 " steps %7zu places %7zu taken%s\n", stand->operation->name, course.steps,
	       places, n, barrier_names[barrier]);
	fflush(stdout);
	course_free(&course);
}

static void none_overwritten(struct run *run, const struct operation *operation)
{
	uint64_t found = info_now(run).overwrites;

	if (!operation->spoils && found != run->overwrites)
		errx(1, "%s: %" PRIu64 " slots are said to have been overwritten", operation->name,
		     found - run->overwrites);
	run->overwrites = found;
}

static void kill_operation(struct run *run, const struct operation *operation)
{
	const struct stand stand = { &run->scene, &run->library, &run->program, operation };

	run->count.operations++;
	for (unsigned barrier = 0; barrier < BARRIERS; barrier++)
		if (operation->barriers & run->options.barriers & 1u << barrier)
			kill_course(run, &stand, (enum barrier)barrier);
	scene_pass(operation->seconds * UINT64_C(1100000000));
	all_reclaimed(run, operation);
	none_overwritten(run, operation);
}

static void read_options(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {
		{ "every", required_argument, NULL, 'e' },
		{ "most", required_argument, NULL, 'm' },
		{ "operation", required_argument, NULL, 'o' },
		{ "barrier", required_argument, NULL, 'B' },
		{ "batch", required_argument, NULL, 'b' },
		{ "cas", no_argument, NULL, 'c' },
		{ "hardened", no_argument, NULL, 'h' },
		{ "all", no_argument, NULL, 'a' },
		{ "fresh", no_argument, NULL, 'f' },
		{ "wander", required_argument, NULL, 'w' },
		{ "wanderer", required_argument, NULL, 'W' },
		{ "stop", no_argument, NULL, 's' },
		{ "cover", required_argument, NULL, 'C' },
		{ "more", no_argument, NULL, 'M' },
		{ "stores", no_argument, NULL, 'S' },
		{ "set", required_argument, NULL, 'X' },
		{ 0 },
	};
	int c;

	*o = (struct options){ .every = 1, .batch = 64, .barriers = ~0u };
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 'e':
			o->every = (unsigned)atoi(optarg);
			break;
		case 'm':
			o->most = (unsigned)atoi(optarg);
			break;
		case 'o':
			o->only = optarg;
			break;
		case 'B':
			o->barriers = 1u << atoi(optarg);
			break;
		case 'b':
			o->batch = (unsigned)atoi(optarg);
			break;
		case 'c':
			o->by_cas = true;
			break;
		case 'h':
			o->hardened = true;
			break;
		case 'a':
			o->all = true;
			break;
		case 's':
			o->stop = true;
			break;
		case 'S':
			o->stores = true;
			break;
		case 'f':
			o->fresh = true;
			break;
		case 'w':
			o->wander = (unsigned)atoi(optarg);
			o->more = true;
			break;
		case 'W':
			o->wanderer = strtoull(optarg, NULL, 0);
			break;
		case 'M':
			o->more = true;
			break;
		case 'C':
			o->cover = optarg;
			break;
		case 'X':
			if (o->nsets == SETS)
				errx(2, "more than %u settings", SETS);
			o->sets[o->nsets++] = optarg;
			break;
		default:
			exit(2);
		}
	}
	if (!o->every || !o->batch)
		errx(2, "--every and --batch are 1 or more");
}

static void begin_other(struct run *run)
{
	fixture_start(&run->other, NULL);
	setenv(CONDITIONS_OTHER, run->other.socket, 1);
}

static void begin(struct run *run)
{
	static const char *const always[] = {
		"heap.test.GCPercent=10000",     "daemon.LogLevel=warning",   "daemon.MaxSessions=400",
		"daemon.MaxSessionsPerUser=400", "heap.small.Size=256M",      "heap.small.Limit=64M",
		"heap.small.GCPercent=100",      "heap.plain.Size=256M",      "heap.tight.Size=64M",
		"heap.tight.Limit=16M",          "heap.tight.UserShare=off",  "heap.tight.GCPercent=100",
		"heap.shared.Size=64M",          "heap.shared.Limit=32M",     "heap.shared.UserShare=25%",
		"heap.shared.AllowUsers=*",      "heap.shared.GCPercent=100", "heap.poisoned.Size=256M",
		"heap.poisoned.GCPercent=100",   "heap.poisoned.Debug=poison"
	};
	const char *settings[FIXTURE_SETTINGS] = { NULL };
	unsigned n = 0;

	for (; n < sizeof(always) / sizeof(always[0]); n++)
		settings[n] = always[n];
	for (unsigned i = 0; i < run->options.nsets; i++)
		settings[n++] = run->options.sets[i];
	if (run->options.hardened)
		settings[n] = "heap.test.Hardened=yes";
	run->seed = fixture_seed() | 1;
	if (run->options.more)
		begin_other(run);
	fixture_start(&run->fixture, settings);
	scene_init(&run->scene, run->options.by_cas ? HEAPD_ATTACH_NO_RSEQ : 0);
	text_load(&run->library, (const void *)(uintptr_t)&heapd_version);
	text_load(&run->program, (const void *)(uintptr_t)&scene_noperations);
	if (run->options.cover)
		cover_read(&run->library, run->options.cover);
	run->witness = witness_start(&run->scene);
	run->sessions = 2;
	wait_witness(run);
	run->live = settle(run);
	batch_now = (struct batch){ .of = getpid(), .run = run };
	atexit(on_exit_say);
	measure_turns(run);
}

/* Ways that depend on what the daemon does meanwhile are not come along each time: the operation is run again until it is. */
static void hunt(struct run *run, const struct instruction *in)
{
	const struct stand stand = { &run->scene, &run->library, &run->program, in->operation };
	const struct point p = { .at = in->at, .nth = 1 };

	for (unsigned i = 0; i < HUNTS && !in->covered; i++)
		kill_batch(run, &stand, (enum barrier)in->barrier, &p, 1);
}

/* Returns how many of the stores that operations came to had nobody. */
static size_t stores_left(struct run *run, const struct text *text, size_t *come_to)
{
	char name[128];
	size_t left = 0;

	for (size_t i = 0; i < text->ninstructions; i++) {
		const struct instruction *in = &text->instructions[i];

		if (!in->writes || !in->come_to)
			continue;
		(*come_to)++;
		hunt(run, in);
		left += !in->covered;
		if (!in->covered)
			fprintf(stderr, "nobody was stopped at %s (%s)\n",
				text_name(text, in->at, name, sizeof(name)),
				((const struct operation *)in->operation)->name);
	}
	return left;
}

static void stores_all(struct run *run)
{
	const struct options *o = &run->options;
	size_t come_to = 0, left;

	if (!o->stores || o->most || o->every > 1)
		return;
	left = stores_left(run, &run->library, &come_to) + stores_left(run, &run->program, &come_to);
	printf("%zu of %zu stores that operations come to\n", come_to - left, come_to);
	if (left > LEFT)
		errx(1, "%zu stores are left", left);
}

static void finish(struct run *run)
{
	run->scene.board->stop = 1;
	fixture_wait(run->witness, 0);
	if (heapd_detach(run->scene.heap) < 0)
		errx(1, "%s", heapd_error());
	fixture_stop(&run->fixture);
	if (run->options.more)
		fixture_stop(&run->other);
}

/* By compare-and-swap, and in a hardened heap, little but what allocates and frees is another operation. */
static bool is_wanted(const struct run *run, const struct operation *o)
{
	static const char *const differ[] = {
		"alloc", "refill", "install", "ring", "burst", "realloc", "free"
	};

	if (o->spoils && !run->options.hardened)
		return false;
	if (run->options.only)
		return strcmp(run->options.only, o->name) == 0;
	if (run->options.fresh || (!run->options.by_cas && !run->options.hardened))
		return true;
	for (size_t i = 0; i < sizeof(differ) / sizeof(differ[0]); i++)
		if (strncmp(o->name, differ[i], strlen(differ[i])) == 0)
			return true;
	return false;
}

static void kill_all(struct run *run)
{
	for (unsigned i = 0; i < scene_noperations; i++)
		if (is_wanted(run, &scene_operations[i]))
			kill_operation(run, &scene_operations[i]);
}

static void kill_more(struct run *run)
{
	for (unsigned i = 0; more_operations[i]; i++)
		for (const struct operation *o = more_operations[i]; o->name; o++)
			if (is_wanted(run, o))
				kill_operation(run, o);
}

/* Wandering -------------------------------------------------------------------------------------------------------- */

#define WANDER_NS UINT64_C(400000000) /* who waits for what does not come has waited long enough */

static struct capture wander_one(struct run *run, const struct traps *traps, const struct wanderer *w)
{
	pid_t pid;

	run->scene.board->go = 0;
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0)
		wander_run(w);
	return traps_run(traps, pid, &run->scene.board->go, WANDER_NS);
}

/* The others go on; the run fails in the end. */
static void say_fault(struct run *run, const struct wanderer *w, const struct capture *c)
{
	const struct text *text = text_find(&run->program, c->at) ? &run->program : &run->library;
	char name[128];

	warnx("a wanderer (--wanderer %" PRIu64
	      " --operation %s%s) ends by signal %d at %s, address 0x%" PRIx64,
	      w->seed, w->did->name, barrier_names[w->barrier], c->signal,
	      text_name(text, c->at, name, sizeof(name)), c->address);
	for (unsigned i = 0; i < CAPTURE_WORDS; i++) {
		text = text_holds(&run->library, c->stack[i]) ? &run->library : &run->program;
		if (text_holds(text, c->stack[i]))
			fprintf(stderr, "  %s\n", text_within(text, c->stack[i], name, sizeof(name)));
	}
	run->count.faults++;
}

static void wander_counted(struct run *run, struct traps *traps, const struct capture *c)
{
	run->count.missed += c->how == TRAPPED_LATE;
	if (c->how != TRAPPED)
		return;
	run->count.kills++;
	cover(run, c->at);
	traps_lift(traps, c->at);
}

/* What has just led to something new is done again, mostly. */
static const struct operation *wander_next(struct run *run, const struct wanderer *w, bool fruitful)
{
	if (fruitful && random_next(&run->seed) % 8)
		return w->did;
	return wander_draw(w, &run->seed, run->options.only);
}

static void wander_batch(struct run *run, struct traps *traps, enum barrier barrier)
{
	pid_t staller = barrier == BARRIER_OFF ? 0 : staller_start(&run->scene, barrier);
	struct wanderer w = { .scene = &run->scene,
			      .barrier = barrier,
			      .spoils = run->options.hardened,
			      .loud = run->options.wanderer != 0 };
	struct capture c = { .how = TRAPPED_ENDED };

	for (unsigned i = 0; i < run->options.batch; i++) {
		w.did = wander_next(run, &w, c.how == TRAPPED);
		w.seed = run->options.wanderer ? run->options.wanderer : random_next(&run->seed);
		c = wander_one(run, traps, &w);
		if (c.how == TRAPPED_FAULT)
			say_fault(run, &w, &c);
		wander_counted(run, traps, &c);
	}
	staller_end(staller);
	look(run);
}

/* What tickets keep alive they keep for a second; what is left alive is looked at now and then. */
static void wander(struct run *run)
{
	static const struct operation wandering = { .name = "wandering" };
	struct traps traps;

	for (size_t i = 0; run->options.wanderer && i < run->library.ninstructions; i++)
		run->library.instructions[i].covered = true;
	traps_load(&traps, &run->library);
	for (unsigned n = 0; n < run->options.wander; n += run->options.batch) {
		uint64_t before = run->count.kills, late = run->count.missed;
		enum barrier barrier = (enum barrier)(random_next(&run->seed) >> 20 & 15);

		barrier = barrier < BARRIERS && run->options.barriers & 1u << barrier ? barrier : BARRIER_OFF;
		wander_batch(run, &traps, barrier);
		cover_keep(run);
		printf("  %6u wandered %5" PRIu64 " deaths %5" PRIu64 " late%s\n", n + run->options.batch,
		       run->count.kills - before, run->count.missed - late, barrier_names[barrier]);
		fflush(stdout);
		if (n / run->options.batch % 8)
			continue;
		scene_pass(UINT64_C(1100000000));
		all_reclaimed(run, &wandering);
	}
	traps_free(&traps);
}

int main(int argc, char **argv)
{
	static struct run run;

	read_options(&run.options, argc, argv);
	begin(&run);
	if (run.options.wander)
		wander(&run);
	else if (run.options.more)
		kill_more(&run);
	else
		kill_all(&run);
	printf("%" PRIu64 " operations, %" PRIu64 " deaths, of them %" PRIu64 " in sequences; %" PRIu64
	       " places not come to again; the heap looked at %" PRIu64 " times\n",
	       run.count.operations, run.count.kills, run.count.sequences, run.count.missed,
	       run.count.checks);
	stores_all(&run);
	finish(&run);
	if (run.count.faults)
		errx(1, "%" PRIu64 " wanderers ended by a signal that nobody had sent", run.count.faults);
	return 0;
}
