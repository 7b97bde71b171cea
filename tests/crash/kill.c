/* SPDX-License-Identifier: MIT */
/*
 * Any client, killed at any instruction: kill [--every N | --most N] [--operation NAME] [--barrier 0|1|2] [--batch N] [--cas]
 * [--hardened] [--all] [--fresh] [--more] [--stop] [--cover FILE]
 *
 * Each operation (operations.c) is run once under single steps to learn its way, then once for each of its places, and
 * killed there by SIGKILL. After each batch of deaths the heap is verified and the witness has gone on; after each
 * operation two collections have to find alive exactly what was alive before all of it.
 *
 * With --fresh only instructions are taken that nobody was killed at yet, and with --more other operations: varieties, which few
 * instructions are new in.
 *
 * With --stop it is not killed but stopped there, for the time of some collections, one of which is asked for; others go
 * on meanwhile; then it goes on to its end, and what it stores so late harms nobody.
 *
 * With --hardened the heap is (heapd/canary.h): no death in an allocation or a free may leave words of which somebody else says that
 * they were overwritten.
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
#include "course.h"
#include "cover.h"

#define STOPPED_NS UINT64_C(3000000) /* a cycle takes about a third of it here */
#define OFTEN      16u               /* times round that are not much like the others */
#define ALIKE      64u               /* of those that are, one in so many is taken */
#define LONG       256u              /* times round that a short run does not wait for */

struct options {
	unsigned every; /* of the places, one in so many */
	unsigned most;  /* of an operation; 0: no limit */
	unsigned batch; /* deaths before the heap is looked at */
	const char *only;
	unsigned barriers; /* bits of enum barrier */
	bool stop;         /* each is stopped there, while the others go on, and goes on itself */
	bool by_cas;
	bool hardened;
	bool all;          /* none is left out for being much like another */
	bool fresh;        /* only instructions that nobody was killed at yet */
	bool more;         /* the other operations */
	const char *cover; /* a file that keeps what was covered from run to run */
};

struct count {
	uint64_t operations, kills, missed, sequences, checks;
};

struct run {
	struct options options;
	struct fixture fixture;
	struct scene scene;
	struct text library, program;
	struct count count;
	uint64_t seed;
	uint64_t live; /* objects, when nothing is going on */
	uint64_t sessions;
	uint64_t overwrites; /* found so far, and meant to be */
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
		if (fixture_now_ns() > end)
			errx(1, "%" PRIu64 " sessions, not %" PRIu64, info_now(run).sessions, wanted);
		usleep(200);
	}
}

static void wait_witness(struct run *run)
{
	uint64_t begin = run->scene.board->progress, end = fixture_now_ns() + 20000000000u;

	while (run->scene.board->progress < begin + 8) {
		if (*run->scene.board->wrong)
			errx(1, "%s", run->scene.board->wrong);
		if (fixture_now_ns() > end)
			errx(1, "the witness does not go on");
		usleep(100);
	}
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

static void cover(struct run *run, uint64_t at)
{
	struct instruction *in = text_find(&run->library, at);

	if (in)
		in->covered = true;
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

static void on_exit_say(void)
{
	if (batch_now.of != getpid())
		return;
	if (batch_now.run->options.cover)
		cover_write(&batch_now.run->library, batch_now.run->options.cover);
	if (batch_now.n)
		say_batch(batch_now.run, batch_now.points, batch_now.n);
}

/* A cycle is asked for, and may wait for the one that is stopped; the witness does not. */
static void while_stopped(void *arg)
{
	struct run *run = arg;

	if (heapd_collect_start(run->scene.heap) < 0)
		errx(1, "collect: %s", heapd_error());
	wait_witness(run);
	scene_pass(STOPPED_NS);
	wait_witness(run);
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
	return !text_find(&run->library, p->at) && !text_find(&run->program, p->at);
}

/* One of the first that come there: a later one is another way to the same, and no better. */
static bool is_fresh(const struct run *run, const struct point *p)
{
	const struct instruction *in = text_find(&run->library, p->at);

	return in && !in->covered && p->nth <= 2 && p->entry <= 2;
}

static size_t keep(struct run *run, struct course *course, size_t every, bool alike)
{
	size_t n = 0;

	for (size_t i = 0; i < course->n; i++) {
		const struct point *p = &course->points[i];
		bool taken = alike && !is_much_like_others(run, p);

		if (run->options.fresh && !is_fresh(run, p))
			continue;
		/* Each time round costs a stop. */
		if (run->options.most && p->nth > LONG)
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
		{ "stop", no_argument, NULL, 's' },
		{ "cover", required_argument, NULL, 'C' },
		{ "more", no_argument, NULL, 'M' },
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
		case 'f':
			o->fresh = true;
			break;
		case 'M':
			o->more = true;
			break;
		case 'C':
			o->cover = optarg;
			break;
		default:
			exit(2);
		}
	}
	if (!o->every || !o->batch)
		errx(2, "--every and --batch are 1 or more");
}

static void begin(struct run *run)
{
	const char *settings[] = { "heap.test.GCPercent=10000",
				   "daemon.LogLevel=warning",
				   "daemon.MaxSessions=400",
				   "daemon.MaxSessionsPerUser=400",
				   "heap.small.Size=256M",
				   "heap.small.Limit=64M",
				   "heap.small.GCPercent=100",
				   "heap.plain.Size=256M",
				   "heap.poisoned.Size=256M",
				   "heap.poisoned.GCPercent=100",
				   "heap.poisoned.Debug=poison",
				   NULL,
				   NULL };

	if (run->options.hardened)
		settings[sizeof(settings) / sizeof(settings[0]) - 2] = "heap.test.Hardened=yes";
	run->seed = fixture_seed() | 1;
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
}

static void finish(struct run *run)
{
	run->scene.board->stop = 1;
	fixture_wait(run->witness, 0);
	if (heapd_detach(run->scene.heap) < 0)
		errx(1, "%s", heapd_error());
	fixture_stop(&run->fixture);
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

int main(int argc, char **argv)
{
	static struct run run;

	read_options(&run.options, argc, argv);
	begin(&run);
	if (run.options.more)
		kill_more(&run);
	else
		kill_all(&run);
	printf("%" PRIu64 " operations, %" PRIu64 " deaths, of them %" PRIu64 " in sequences; %" PRIu64
	       " places not come to again; the heap looked at %" PRIu64 " times\n",
	       run.count.operations, run.count.kills, run.count.sequences, run.count.missed,
	       run.count.checks);
	finish(&run);
	return 0;
}
