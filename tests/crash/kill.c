/* SPDX-License-Identifier: MIT */
/*
 * Any client, killed at any instruction: kill [--every N | --most N] [--operation NAME] [--barrier 0|1|2] [--batch N] [--cas]
 * [--hardened] [--all] [--fresh] [--more] [--stop] [--stores] [--wander N] [--wanderer SEED] [--cover FILE]
 * [--sites FILE] [--set SETTING]...
 *
 * Each operation (operations.c) is run once under single steps to learn its way, then once for each of its places, and
 * killed there by SIGKILL. After each batch of deaths the heap is verified and the witness has gone on; after each
 * operation two collections have to find alive exactly what was alive before all of it.
 *
 * With --fresh only instructions are taken that nobody was killed at yet, and with --more other operations: varieties, which few
 * instructions are new in.
 *
 * With --stop it is not killed but stopped there by SIGSTOP, its other threads too, until the witness has done as much as it does in
 * three collections; one is asked for, and may wait for who is stopped; others may not. Meanwhile the trader (trader.c) gets what the rings
 * have next. Then it goes on to its end, which has to be a good one, and what it stores so late harms nobody. With --stores only
 * instructions count, of the library's and of what its header has put into this program, that store; a run of all of them fails if nobody
 * was stopped at more than a few of those that operations come to. --sites FILE then is told which of the library's instructions store, so
 * that gaps knows what there is beside what --cover has.
 *
 * With --hardened the heap is (heapd/canary.h): no death in an allocation or a free may leave words of which somebody else says that
 * they were overwritten.
 *
 * With --wander N so many processes wander instead (wander.c), at their own pace, each until it comes to an instruction of the library that
 * nobody was killed at, and is killed there: threads, agents, handlers, children and all. A signal that nobody sent, in any of them, is a
 * failure. With --stop it is stopped there, with all that it has forked, and goes on; who does one operation has to come to a good end.
 * --wanderer SEED with the --operation and --barrier that it names has such a one again, without traps.
 *
 * --set has the daemon run with another setting than it has here: heap.test.Free=checked, heap.test.MarkerThreads=2.
 *
 * Seeds: HEAPD_TEST_SEED says which places are taken where not all are.
 */
#include <err.h>
#include <errno.h>
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
#include "inlined.h"
#include "options.h"
#include "trial.h"
#include "wanderers.h"

#define OFTEN 16u /* times round that are not much like the others */
#define ALIKE 64u /* of those that are, one in so many is taken */
#define LEFT \
	12u /* stores, on ways that the daemon's pace decides, that hunts may miss; it may only go down */
#define HUNTS 64u  /* times that an operation is run again for one place */
#define LONG  256u /* times round that a short run does not wait for */

/* Killing ---------------------------------------------------------------------------------------------------------- */

static void say_batch(const struct trial *run, const struct point *points, size_t n)
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
	const struct trial *run;
	const struct point *points;
	size_t n;
} batch_now;

static void on_exit_say(void)
{
	if (batch_now.of != getpid())
		return;
	trial_keep(batch_now.run);
	if (batch_now.n)
		say_batch(batch_now.run, batch_now.points, batch_now.n);
}

static void while_stopped(void *run)
{
	trial_while_stopped(run);
}

static void kill_one(struct trial *run, const struct stand *stand, const struct point *p)
{
	char name[128];
	enum outcome outcome = run->options.stop ? course_stop(stand, p, while_stopped, run)
						 : course_kill(stand, p);

	if (run->options.stop && outcome == KILLED)
		trial_after_stop(run);
	switch (outcome) {
	case KILLED:
		run->count.kills++;
		run->count.sequences += p->entry != 0;
		trial_cover(run, p->at);
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
static void kill_batch(struct trial *run, const struct stand *stand, enum barrier barrier,
		       const struct point *points, size_t n)
{
	pid_t staller = barrier == BARRIER_OFF ? 0 : staller_start(&run->scene, barrier);

	run->held_up = staller != 0;
	batch_now.points = points;
	batch_now.n = n;
	for (size_t i = 0; i < n; i++)
		kill_one(run, stand, &points[i]);
	staller_end(&run->scene, staller);
	trial_look(run);
	batch_now.n = 0;
}

/* The library's and this program's own instructions count, the first times round; others are like their neighbours. */
static bool is_much_like_others(const struct trial *run, const struct point *p)
{
	if (p->nth > OFTEN || p->entry > OFTEN)
		return true;
	return !trial_find(run, p->at);
}

/* One of the first that come there: a later one is another way to the same, and no better. */
static bool is_fresh(const struct trial *run, const struct point *p)
{
	const struct instruction *in = text_find(&run->library, p->at);

	return in && !in->covered && p->nth <= 2 && p->entry <= 2;
}

static bool is_unwanted(const struct trial *run, const struct point *p)
{
	const struct instruction *in = trial_find(run, p->at);

	if (run->options.fresh && !is_fresh(run, p))
		return true;
	if (run->options.stores && (!in || !in->writes))
		return true;
	/* Each time round costs a stop. */
	return run->options.most && p->nth > LONG;
}

static size_t keep(struct trial *run, struct course *course, size_t every, bool alike)
{
	size_t n = 0;

	for (size_t i = 0; i < course->n; i++) {
		const struct point *p = &course->points[i];
		bool taken = alike && !is_much_like_others(run, p);

		if (is_unwanted(run, p))
			continue;
		if (taken || every <= 1 || trial_draw(&run->seed) % every == 0)
			course->points[n++] = *p;
	}
	return course->n = n;
}

/* Of the places those that are to be taken in this run. Returns how many. */
static size_t choose(struct trial *run, struct course *course)
{
	size_t every = run->options.every;

	if (!run->options.all)
		keep(run, course, ALIKE, true);
	if (run->options.most && course->n / every > run->options.most)
		every = course->n / run->options.most;
	return keep(run, course, every, false);
}

static void come_to(struct trial *run, const struct course *course, const struct operation *o,
		    enum barrier barrier)
{
	for (size_t i = 0; i < course->n; i++) {
		struct instruction *in = trial_find(run, course->points[i].at);

		/* Of a sequence not all is on each pass: where somebody was stopped says what is. */
		if (!in || in->come_to || course->points[i].entry)
			continue;
		in->come_to = true;
		in->operation = o;
		in->barrier = (uint8_t)barrier;
	}
}

static void kill_course(struct trial *run, const struct stand *stand, enum barrier barrier)
{
	struct course course;
	size_t n, places;
	pid_t staller = barrier == BARRIER_OFF ? 0 : staller_start(&run->scene, barrier);
	bool taken;

	run->scene.board->slow++;
	taken = course_take(stand, &course);
	run->scene.board->slow--;
	staller_end(&run->scene, staller);
	if (!taken)
		errx(1, "%s%s: did not come to its end under single steps, of which it took %" PRIu64,
		     stand->operation->name, trial_barriers[barrier], course.steps);
	trial_wait_sessions(run, run->sessions);
	places = course.n;
	come_to(run, &course, stand->operation, barrier);
	n = choose(run, &course);
	for (size_t i = 0; i < n; i += run->options.batch)
		kill_batch(run, stand, barrier, course.points + i,
			   n - i < run->options.batch ? n - i : run->options.batch);
	printf("  %-18s %7" PRIu64 " steps %7zu places %7zu taken%s\n", stand->operation->name, course.steps,
	       places, n, trial_barriers[barrier]);
	fflush(stdout);
	course_free(&course);
}

static void none_overwritten(struct trial *run, const struct operation *operation)
{
	uint64_t found = trial_info(run).overwrites;

	if (!operation->spoils && found != run->overwrites)
		errx(1, "%s: %" PRIu64 " slots are said to have been overwritten", operation->name,
		     found - run->overwrites);
	run->overwrites = found;
}

static void kill_operation(struct trial *run, const struct operation *operation)
{
	const struct stand stand = { &run->scene, &run->library, &run->program, operation };

	run->count.operations++;
	for (unsigned barrier = 0; barrier < BARRIERS; barrier++)
		if (operation->barriers & run->options.barriers & 1u << barrier)
			kill_course(run, &stand, (enum barrier)barrier);
	scene_pass(operation->seconds * UINT64_C(1100000000));
	trial_reclaimed(run, operation->name);
	none_overwritten(run, operation);
}

/* Ways that depend on what the daemon does meanwhile are not come along each time: the operation is run again until it is. */
static void hunt(struct trial *run, const struct instruction *in)
{
	const struct stand stand = { &run->scene, &run->library, &run->program, in->operation };
	const struct point p = { .at = in->at, .nth = 1 };

	for (unsigned i = 0; i < HUNTS && !in->covered; i++)
		kill_batch(run, &stand, (enum barrier)in->barrier, &p, 1);
}

/* Returns how many of the stores that operations came to had nobody. */
static size_t stores_left(struct trial *run, const struct text *text)
{
	char name[128];
	size_t come_to = 0, left = 0;

	for (size_t i = 0; i < text->ninstructions; i++) {
		const struct instruction *in = &text->instructions[i];

		if (!in->writes || !in->come_to)
			continue;
		come_to++;
		hunt(run, in);
		left += !in->covered;
		if (!in->covered)
			fprintf(stderr, "nobody was stopped at %s (%s)\n",
				text_name(text, in->at, name, sizeof(name)),
				((const struct operation *)in->operation)->name);
	}
	printf("%zu of %zu stores that operations come to in %s\n", come_to - left, come_to, text->path);
	return left;
}

/* Of this program's own stores those count that are the library's, inlined. */
static void begin_stores(struct trial *run)
{
	if (!run->options.stores)
		return;
	inlined_only(&run->program);
	if (run->options.sites)
		cover_stores(&run->library, run->options.sites);
}

static void stores_all(struct trial *run)
{
	const struct trial_options *o = &run->options;
	size_t left;

	if (!o->stores || o->most || o->every > 1 || o->only || o->more)
		return;
	left = stores_left(run, &run->library) + stores_left(run, &run->program);
	if (left > LEFT)
		errx(1, "%zu stores are left", left);
}

/* By compare-and-swap, and in a hardened heap, little but what allocates and frees is another operation. */
static bool is_wanted(const struct trial *run, const struct operation *o)
{
	static const char *const differ[] = {
		"alloc", "refill", "install", "ring", "burst", "realloc", "free"
	};

	if ((o->spoils && !run->options.hardened) || (o->cut_off && run->options.stop))
		return false;
	if (run->options.only)
		return strcmp(run->options.only, o->name) == 0;
	/* Nobody comes between where there are no traps. */
	if (o->met || o->long_way)
		return false;
	if (run->options.fresh || (!run->options.by_cas && !run->options.hardened))
		return true;
	for (size_t i = 0; i < sizeof(differ) / sizeof(differ[0]); i++)
		if (strncmp(o->name, differ[i], strlen(differ[i])) == 0)
			return true;
	return false;
}

static void kill_all(struct trial *run)
{
	for (unsigned i = 0; i < scene_noperations; i++)
		if (is_wanted(run, &scene_operations[i]))
			kill_operation(run, &scene_operations[i]);
}

static void kill_more(struct trial *run)
{
	for (unsigned i = 0; more_operations[i]; i++)
		for (const struct operation *o = more_operations[i]; o->name; o++)
			if (is_wanted(run, o))
				kill_operation(run, o);
}

int main(int argc, char **argv)
{
	static struct trial run;

	options_read(&run.options, argc, argv);
	trial_begin(&run);
	begin_stores(&run);
	batch_now = (struct batch){ .of = getpid(), .run = &run };
	atexit(on_exit_say);
	if (run.options.wander)
		wanderers_all(&run);
	else if (run.options.more)
		kill_more(&run);
	else
		kill_all(&run);
	printf("%" PRIu64 " operations, %" PRIu64 " deaths, of them %" PRIu64 " in sequences; %" PRIu64
	       " places not come to again; the heap looked at %" PRIu64 " times\n",
	       run.count.operations, run.count.kills, run.count.sequences, run.count.missed,
	       run.count.checks);
	stores_all(&run);
	trial_finish(&run);
	if (run.count.faults)
		errx(1, "%" PRIu64 " wanderers came to no good end", run.count.faults);
	return 0;
}
