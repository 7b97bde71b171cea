/* SPDX-License-Identifier: MIT */
/*
 * crew.c - owns the worker processes, and kills them.
 *
 * A slot is a place for one worker. When the worker in it dies, the next life begins in the same slot, and never
 * before waitpid() has told of the end of the last one: claims.c relies on it.
 *
 * Who is killed, and when, is drawn by lot from the seed; where in its work it then is, is the machine's
 * choice. A kill is held back until some file was claimed since the last one, so that a file that takes
 * longer than the time between kills is done in the end all the same.
 *
 * While files are read again, readers walk through the whole index, one after the other (sound.c).
 */
#include "crew.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "child.h"
#include "claims.h"
#include "random.h"
#include "say.h"

#define TICK_NS 50000000u /* between two looks at how far the work is */

struct slot {
	pid_t pid; /* 0: nobody works here */
	unsigned life;
};

struct crew {
	const struct options *options;
	struct host *host;
	heapd_heap *heap;
	struct table *table;
	struct slot *slots;
	struct crew_report *report;
	pid_t reader; /* 0: none */
	unsigned working;
	uint64_t random, next_kill; /* when */
	uint64_t claimed_at_kill;
	uint64_t start, round_start;
	uint64_t round, seen,
		seen_bytes; /* the round at the last look, files claimed in it, what is in them */
};

static uint64_t claimed(const struct crew *crew)
{
	return claims_turn(crew->table);
}

static int start_worker(struct crew *crew, unsigned slot)
{
	const struct options *o = crew->options;
	struct child_args args = { 0 };
	int r;

	child_self(&args);
	child_arg(&args, "--role=worker");
	options_pass(o, &args);
	child_arg(&args, "--slot");
	child_arg_number(&args, slot);
	child_arg(&args, "--life");
	child_arg_number(&args, ++crew->slots[slot].life);
	r = child_start(&args, &CHILD_FILES_OURS, &crew->slots[slot].pid);
	if (r < 0) {
		crew->slots[slot].pid = 0;
		return say_error(r, "cannot start a worker");
	}
	crew->working++;
	return 0;
}

/* Between half and one and a half of what was asked for. */
static void plan_kill(struct crew *crew)
{
	uint64_t ns = crew->options->kill_every * 1000000ull;

	crew->next_kill = ns ? clock_now() + ns / 2 + random_below(&crew->random, ns) : UINT64_MAX;
	crew->claimed_at_kill = claimed(crew);
}

static bool kill_is_due(const struct crew *crew)
{
	return clock_now() >= crew->next_kill && claimed(crew) > crew->claimed_at_kill;
}

static void kill_one(struct crew *crew)
{
	uint64_t nth = random_below(&crew->random, crew->working);

	for (unsigned i = 0; i < crew->options->workers; i++) {
		if (crew->slots[i].pid && nth-- == 0) {
			kill(crew->slots[i].pid, SIGKILL);
			break;
		}
	}
	plan_kill(crew);
}

/* A worker that was killed is replaced; one that has found no more files is done; anything else is a fault. */
static int worker_ended(struct crew *crew, unsigned slot, int status)
{
	crew->slots[slot].pid = 0;
	crew->working--;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		crew->report->killed++;
		return start_worker(crew, slot);
	}
	say_error(0, "a worker ended with %s", child_fate(status).text);
	return -ECHILD;
}

static int start_reader(struct crew *crew)
{
	struct child_args args = { 0 };
	int r;

	child_self(&args);
	options_pass(crew->options, &args);
	child_arg(&args, "--ask");
	child_arg(&args, "sound");
	r = child_start(&args, &CHILD_FILES_OURS, &crew->reader);
	if (r == 0)
		return 0;
	crew->reader = 0;
	return say_error(r, "cannot start a reader");
}

/* One at a time, from the second round on. */
static int look_after_reader(struct crew *crew)
{
	int status;

	if (!crew->reader)
		return crew->round && crew->working ? start_reader(crew) : 0;
	if (!child_ended(crew->reader, &status))
		return 0;
	crew->reader = 0;
	if (status != 0) {
		say_error(0, "a reader of the index under change ended with %s", child_fate(status).text);
		return -ECHILD;
	}
	crew->report->readings++;
	return 0;
}

static int look_after_workers(struct crew *crew)
{
	int status, r = host_check(crew->host);

	for (unsigned i = 0; i < crew->options->workers && r == 0; i++) {
		if (crew->slots[i].pid && child_ended(crew->slots[i].pid, &status))
			r = worker_ended(crew, i, status);
	}
	return r == 0 ? look_after_reader(crew) : r;
}

static uint64_t time_to_wait(const struct crew *crew)
{
	uint64_t now = clock_now();

	if (crew->next_kill <= now)
		return kill_is_due(crew) ? 0 : TICK_NS / 10;
	return crew->next_kill - now < TICK_NS ? crew->next_kill - now : TICK_NS;
}

/* By bytes: the files lie in the table by their size, the largest first. */
static void count_seen(struct crew *crew)
{
	uint64_t now = claimed(crew) - crew->round * crew->table->nfiles;

	for (; crew->seen < now && crew->seen < crew->table->nfiles; crew->seen++)
		crew->seen_bytes += crew->table->files[crew->seen]->size;
}

static const char *describe(struct crew *crew, char *text, size_t size)
{
	struct heapd_info info = HEAPD_SIZED(info);

	heapd_get_info(crew->heap, &info);
	if (info.committed > crew->report->committed)
		crew->report->committed = info.committed;
	snprintf(
		text, size,
		"; %u killed; %llu MiB live, %llu committed of %llu; %llu collections, longest pause %.0f us",
		crew->report->killed, (unsigned long long)info.gc_live >> 20,
		(unsigned long long)info.committed >> 20, (unsigned long long)info.limit >> 20,
		(unsigned long long)info.gc_cycles, (double)info.gc_pause_max_ns / 1e3);
	return text;
}

/* When the time is over, the round under way is the last one. */
static void end_in_time(struct crew *crew)
{
	const struct options *o = crew->options;

	if (o->seconds && crew->round && crew->table->rounds == UINT64_MAX &&
	    clock_seconds_since(crew->start) >= crew->report->build_seconds + o->seconds)
		claims_set_rounds(crew->table, claimed(crew) / crew->table->nfiles + 1);
}

static void end_round(struct crew *crew, const char *figures)
{
	double seconds = clock_seconds_since(crew->round_start);

	if (crew->round == 0)
		crew->report->build_seconds = seconds;
	say_done(crew->options->quiet, "%s %llu files in %.1f s%s", crew->round ? "Updated" : "Indexed",
		 (unsigned long long)crew->table->nfiles, seconds, figures);
	crew->round_start = clock_now();
	crew->seen = crew->seen_bytes = 0;
	crew->round++;
}

static void draw_bar(const struct crew *crew, const char *figures)
{
	say_progress(crew->options->quiet, crew->round ? "Updating" : "Indexing", crew->seen_bytes,
		     crew->table->bytes, figures);
}

static void show_progress(struct crew *crew)
{
	char figures[160];

	describe(crew, figures, sizeof(figures));
	while (claimed(crew) >= (crew->round + 1) * crew->table->nfiles)
		end_round(crew, figures);
	if (!crew->working)
		return;
	count_seen(crew);
	draw_bar(crew, figures);
	end_in_time(crew);
}

static int work(struct crew *crew)
{
	int r = 0;

	draw_bar(crew, ""); /* before the first tick: by then few files are done with */
	for (unsigned i = 0; i < crew->options->workers && r == 0; i++)
		r = start_worker(crew, i);
	plan_kill(crew);
	while (r == 0 && crew->working) {
		r = signals_wait(time_to_wait(crew));
		if (r == 0)
			r = look_after_workers(crew);
		if (r == 0 && crew->working && kill_is_due(crew))
			kill_one(crew);
		show_progress(crew);
	}
	return r;
}

static void stop_all(struct crew *crew)
{
	for (unsigned i = 0; i < crew->options->workers; i++) {
		if (crew->slots[i].pid)
			child_stop(crew->slots[i].pid, SIGKILL);
	}
}

/* The last reader may walk to its end, unless something is wrong. */
static int end_reader(struct crew *crew, int r)
{
	if (!crew->reader)
		return r;
	while (r == 0 && crew->reader) {
		r = signals_wait(TICK_NS);
		if (r == 0)
			r = look_after_reader(crew);
	}
	if (crew->reader)
		child_stop(crew->reader, SIGKILL);
	return r;
}

int crew_run(const struct options *options, struct host *host, heapd_heap *heap, struct table *table,
	     struct crew_report *report)
{
	struct crew crew = {
		.options = options,
		.host = host,
		.heap = heap,
		.table = table, /* in a variable on the stack, so the heap's rules are kept */
		.slots = calloc(options->workers, sizeof(struct slot)),
		.report = report,
		.random = options->seed,
		.start = clock_now(),
		.round_start = clock_now(),
	};
	int r;

	*report = (struct crew_report){ 0 };
	claims_set_rounds(table, options->forever || options->seconds ? UINT64_MAX : 1ull + options->rounds);
	r = crew.slots ? work(&crew) : -ENOMEM;
	if (crew.slots)
		stop_all(&crew);
	free(crew.slots);
	r = end_reader(&crew, r);
	report->rounds = table->rounds - 1;
	report->update_seconds = clock_seconds_since(crew.start) - report->build_seconds;
	return r;
}
