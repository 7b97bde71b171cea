/* SPDX-License-Identifier: MIT */
/* trial.c - owns the daemon, the scene, the witness and the trader of a run, and the judgement of the heap after deaths. */
#include "trial.h"

#include <err.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "conditions.h"
#include "cover.h"
#include "trader.h"

const char *const trial_barriers[BARRIERS] = { "", ", barrier on", ", barrier on before the scan" };

uint64_t trial_draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

struct heapd_info trial_info(struct trial *run)
{
	struct heapd_info info = HEAPD_SIZED(info);

	if (heapd_get_info(run->scene.heap, &info) < 0)
		errx(1, "%s", heapd_error());
	return info;
}

/* Looking at the heap ---------------------------------------------------------------------------------------------- */

void trial_wait_sessions(struct trial *run, uint64_t wanted)
{
	uint64_t end = fixture_now_ns() + SCENE_PATIENCE_NS;

	while (trial_info(run).sessions != wanted) {
		if (*run->scene.board->wrong)
			errx(1, "%s", run->scene.board->wrong);
		if (fixture_now_ns() > end)
			errx(1, "%" PRIu64 " sessions, not %" PRIu64, trial_info(run).sessions, wanted);
		usleep(200);
	}
}

void trial_wait_turns(struct trial *run, uint64_t turns)
{
	uint64_t begin = run->scene.board->progress, end = fixture_now_ns() + SCENE_PATIENCE_NS;

	while (run->scene.board->progress < begin + turns) {
		if (*run->scene.board->wrong)
			errx(1, "%s", run->scene.board->wrong);
		if (fixture_now_ns() > end)
			errx(1, "the witness does not go on");
		usleep(100);
	}
}

/* A cycle is asked for, and may wait for the one that is stopped; the witness and the trader do not. */
void trial_while_stopped(struct trial *run)
{
	if (heapd_collect_start(run->scene.heap) < 0)
		errx(1, "collect: %s", heapd_error());
	trader_round(&run->scene, run->held_up);
	trial_wait_turns(run, run->turns);
}

void trial_after_stop(struct trial *run)
{
	trader_round(&run->scene, run->held_up);
}

static void wait_witness(struct trial *run)
{
	trial_wait_turns(run, 8);
}

static void verify(struct trial *run)
{
	struct heapd_verify_result result = HEAPD_SIZED(result);
	int r = heapd_verify(run->scene.heap, &result);

	if (r != 0)
		errx(1, "verify: %s", r < 0 ? heapd_error() : result.first);
}

void trial_look(struct trial *run)
{
	run->count.checks++;
	trial_wait_sessions(run, run->sessions);
	wait_witness(run);
	guards_check(&run->scene);
	stage_check(&run->scene);
	verify(run);
}

/* What two whole collections leave alive while nobody does anything. */
static uint64_t settle(struct trial *run)
{
	scene_clear(&run->scene);
	witness_pause(&run->scene);
	if (run->trader)
		trader_drop(&run->scene);
	trial_wait_sessions(run, run->sessions);
	for (unsigned i = 0; i < 2; i++)
		if (heapd_collect(run->scene.heap) < 0)
			errx(1, "collect: %s", heapd_error());
	verify(run);
	witness_resume(&run->scene);
	return trial_info(run).gc_live_objects;
}

void trial_reclaimed(struct trial *run, const char *what)
{
	uint64_t live = settle(run);

	if (live != run->live)
		errx(1, "%s: %" PRIu64 " objects are alive after two collections, not %" PRIu64, what, live,
		     run->live);
}

/* What they come to ------------------------------------------------------------------------------------------------- */

struct instruction *trial_find(const struct trial *run, uint64_t at)
{
	struct instruction *in = text_find(&run->library, at);

	return in ? in : text_find(&run->program, at);
}

void trial_cover(struct trial *run, uint64_t at)
{
	struct instruction *in = trial_find(run, at);

	if (in)
		in->covered = in->come_to = true;
}

void trial_keep(const struct trial *run)
{
	if (run->options.cover)
		cover_write(&run->library, run->options.cover);
}

/* Its beginning and its end ------------------------------------------------------------------------------------------ */

/* How long collections take is counted by what the witness does meanwhile: so it is the same on a slow machine. */
static void measure_turns(struct trial *run)
{
	uint64_t begin = run->scene.board->progress;

	for (unsigned i = 0; i < TRIAL_CYCLES; i++)
		if (heapd_collect(run->scene.heap) < 0)
			errx(1, "collect: %s", heapd_error());
	run->turns = run->scene.board->progress - begin;
	if (run->turns < 2 * SCENE_NODES)
		run->turns = 2 * SCENE_NODES;
}

static void begin_other(struct trial *run)
{
	fixture_start(&run->other, NULL);
	setenv(CONDITIONS_OTHER, run->other.socket, 1);
}

void trial_begin(struct trial *run)
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
	run->trader = run->options.stop ? trader_start(&run->scene) : 0;
	run->sessions = run->trader ? 3 : 2;
	wait_witness(run);
	run->live = settle(run);
	measure_turns(run);
}

void trial_finish(struct trial *run)
{
	run->scene.board->stop = 1;
	fixture_wait(run->witness, 0);
	if (run->trader)
		fixture_wait(run->trader, 0);
	if (heapd_detach(run->scene.heap) < 0)
		errx(1, "%s", heapd_error());
	fixture_stop(&run->fixture);
	if (run->options.more)
		fixture_stop(&run->other);
}
