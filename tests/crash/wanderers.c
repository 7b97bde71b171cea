/* SPDX-License-Identifier: MIT */
/*
 * wanderers.c - owns the runs of processes that wander, one after the other, each until it comes to where nobody was killed: first those
 * that do one operation and no more, each until it leads to nothing new; then by seeds, and what one came to something by is done again.
 * Who is to be stopped, not killed, goes on, and may be stopped again.
 */
#include "wanderers.h"

#include <err.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "traps.h"
#include "wander.h"

#define STRAIGHT_NS UINT64_C(8000000000) /* what an operation may take that is done and no more */
#define PATIENCE    3u
#define WANDER_NS   UINT64_C(400000000) /* who waits for what does not come has waited long enough */

static struct capture wander_one(struct trial *run, const struct traps *traps, const struct wanderer *w)
{
	struct meeting meeting;
	pid_t pid;

	run->scene.board->go = 0;
	meeting_begin(&meeting, &run->library, w->straight ? w->did->met : NULL, run->scene.board);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0)
		wander_run(w);
	return traps_run(traps, &meeting, pid, &run->scene.board->go, w->straight ? STRAIGHT_NS : WANDER_NS);
}

/* The others go on; the run fails in the end. */
static void say_fault(struct trial *run, const struct wanderer *w, const struct capture *c)
{
	const struct text *text = text_find(&run->program, c->at) ? &run->program : &run->library;
	char name[128];

	warnx("a wanderer (--wanderer %" PRIu64
	      " --operation %s%s) ends by signal %d at %s, address 0x%" PRIx64,
	      w->seed, w->did->name, trial_barriers[w->barrier], c->signal,
	      text_name(text, c->at, name, sizeof(name)), c->address);
	for (unsigned i = 0; i < CAPTURE_WORDS; i++) {
		text = text_holds(&run->library, c->stack[i]) ? &run->library : &run->program;
		if (text_holds(text, c->stack[i]))
			fprintf(stderr, "  %s\n", text_within(text, c->stack[i], name, sizeof(name)));
	}
	run->count.faults++;
}

static void came_to(struct trial *run, struct traps *traps, uint64_t at)
{
	run->count.kills++;
	trial_cover(run, at);
	traps_lift(traps, at);
}

struct stopping {
	struct trial *run;
	struct traps *traps;
};

static void stopped_at(void *arg, uint64_t at)
{
	const struct stopping *s = arg;

	came_to(s->run, s->traps, at);
	trial_while_stopped(s->run);
}

/* Who does one operation and is stopped in it comes to its end, or, where nobody could ask it, to the daemon's. */
static void end_judge(struct trial *run, const struct wanderer *w, const struct capture *c)
{
	if (!w->straight || !c->status || (w->did->cut_off && c->status == SIGKILL))
		return;
	warnx("%s%s, stopped and gone on, ends by status 0x%x", w->did->name, trial_barriers[w->barrier],
	      c->status);
	run->count.faults++;
}

static struct capture wander_counted(struct trial *run, struct traps *traps, const struct wanderer *w)
{
	struct capture c;

	run->held_up = w->barrier != BARRIER_OFF;
	c = wander_one(run, traps, w);
	if (c.how == TRAPPED_FAULT)
		say_fault(run, w, &c);
	run->count.missed += c.how == TRAPPED_LATE;
	if (run->options.stop && c.how == TRAPPED) {
		trial_after_stop(run);
		end_judge(run, w, &c);
	}
	if (c.how == TRAPPED && !run->options.stop)
		came_to(run, traps, c.at);
	return c;
}

/* What has just led to something new is done again, mostly. */
static const struct operation *wander_next(struct trial *run, const struct wanderer *w, bool fruitful)
{
	if (fruitful && trial_draw(&run->seed) % 8)
		return w->did;
	return wander_draw(w, &run->seed, run->options.only);
}

static void wander_batch(struct trial *run, struct traps *traps, enum barrier barrier)
{
	pid_t staller = barrier == BARRIER_OFF ? 0 : staller_start(&run->scene, barrier);
	struct wanderer w = { .scene = &run->scene,
			      .barrier = barrier,
			      .spoils = run->options.hardened,
			      .loud = run->options.wanderer != 0 };
	struct capture c = { .how = TRAPPED_ENDED };

	for (unsigned i = 0; i < run->options.batch; i++) {
		w.did = wander_next(run, &w, c.how == TRAPPED);
		w.seed = run->options.wanderer ? run->options.wanderer : trial_draw(&run->seed);
		c = wander_counted(run, traps, &w);
	}
	staller_end(&run->scene, staller);
	trial_look(run);
}

/* A batch of deaths, beside a client that holds up the cycle; that one is gone before the heap is looked at. Whether there is more. */
static bool straight_batch(struct trial *run, struct traps *traps, const struct wanderer *w)
{
	pid_t staller = w->barrier == BARRIER_OFF ? 0 : staller_start(&run->scene, w->barrier);
	uint64_t before = run->count.kills;
	bool more = true;

	while (more && run->count.kills - before < run->options.batch)
		more = wander_counted(run, traps, w).how == TRAPPED;
	staller_end(&run->scene, staller);
	if (run->count.kills != before)
		trial_look(run);
	return more;
}

/* Where the daemon's pace or another thread decides, or the clock, one that came to its end may not have come to all that there is. */
static unsigned patience(const struct wanderer *w)
{
	return w->did->met || w->did->where == IN_AGENT || w->did->where == IN_SIGNAL ||
			       w->barrier != BARRIER_OFF
		       ? PATIENCE
		       : 1;
}

/* Until it comes to its end without coming to anything new, so many times. */
static void straight(struct trial *run, struct traps *traps, const struct wanderer *w)
{
	uint64_t before = run->count.kills, then;

	for (unsigned left = patience(w); left;) {
		then = run->count.kills;
		while (straight_batch(run, traps, w))
			;
		left = run->count.kills != then ? patience(w) : left - 1;
	}
	if (run->count.kills == before)
		return;
	trial_keep(run);
	printf("  %-18s %7" PRIu64 " %s%s\n", w->did->name, run->count.kills - before,
	       run->options.stop ? "stops" : "deaths", trial_barriers[w->barrier]);
	fflush(stdout);
}

/* Each operation in turn. */
static void straight_all(struct trial *run, struct traps *traps, enum barrier barrier)
{
	struct wanderer w = {
		.scene = &run->scene, .barrier = barrier, .spoils = run->options.hardened, .straight = true
	};

	for (unsigned i = 0; (w.did = wander_nth(i)); i++)
		if (wander_may(&w, w.did) &&
		    (!run->options.only || strcmp(run->options.only, w.did->name) == 0))
			straight(run, traps, &w);
}

/* What tickets keep alive they keep for a second; what is left alive is looked at now and then. */
void wanderers_all(struct trial *run)
{
	struct traps traps;
	struct stopping stopping = { run, &traps };

	for (size_t i = 0; run->options.wanderer && i < run->library.ninstructions; i++)
		run->library.instructions[i].covered = true;
	traps_load(&traps, &run->library, run->options.stores);
	if (run->options.stop) {
		traps.meanwhile = stopped_at;
		traps.arg = &stopping;
	}
	for (unsigned barrier = 0; !run->options.wanderer && barrier < BARRIERS; barrier++)
		straight_all(run, &traps, (enum barrier)barrier);
	for (unsigned n = 0; n < run->options.wander; n += run->options.batch) {
		uint64_t before = run->count.kills, late = run->count.missed;
		enum barrier barrier = (enum barrier)(trial_draw(&run->seed) >> 20 & 15);

		barrier = barrier < BARRIERS && run->options.barriers & 1u << barrier ? barrier : BARRIER_OFF;
		wander_batch(run, &traps, barrier);
		trial_keep(run);
		printf("  %6u wandered %5" PRIu64 " %s %5" PRIu64 " late%s\n", n + run->options.batch,
		       run->count.kills - before, run->options.stop ? "stops" : "deaths",
		       run->count.missed - late, trial_barriers[barrier]);
		fflush(stdout);
		if (n / run->options.batch % 8)
			continue;
		scene_pass(UINT64_C(1100000000));
		trial_reclaimed(run, "wandering");
	}
	traps_free(&traps);
}
