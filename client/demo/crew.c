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
 */
#include "crew.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "child.h"
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
	const struct table *table;
	struct slot *slots;
	unsigned working, killed;
	uint64_t random, next_kill; /* when */
	uint64_t claimed_at_kill;
	uint64_t seen, seen_bytes; /* files claimed at the last look, and what is in them */
};

static uint64_t claimed(const struct crew *crew)
{
	return __atomic_load_n(&crew->table->hint, __ATOMIC_RELAXED);
}

static int start_worker(struct crew *crew, unsigned slot)
{
	const struct options *o = crew->options;
	struct child_args args = { 0 };
	int r;

	child_arg(&args, "/proc/self/exe");
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
		crew->killed++;
		return start_worker(crew, slot);
	}
	say_error(0, "a worker ended with %s", child_fate(status).text);
	return -ECHILD;
}

static int look_after_workers(struct crew *crew)
{
	int status, r = host_check(crew->host);

	for (unsigned i = 0; i < crew->options->workers && r == 0; i++) {
		if (crew->slots[i].pid && child_ended(crew->slots[i].pid, &status))
			r = worker_ended(crew, i, status);
	}
	return r;
}

static uint64_t time_to_wait(const struct crew *crew)
{
	uint64_t now = clock_now();

	if (crew->next_kill <= now)
		return kill_is_due(crew) ? 0 : TICK_NS / 10;
	return crew->next_kill - now < TICK_NS ? crew->next_kill - now : TICK_NS;
}

/* By bytes: the files lie in the table by their size, the largest first. */
static void show_progress(struct crew *crew)
{
	uint64_t now = claimed(crew);

	for (; crew->seen < now; crew->seen++)
		crew->seen_bytes += crew->table->files[crew->seen]->stamp.size;
	say_progress(crew->options->quiet, "Indexing", crew->seen_bytes, crew->table->bytes, crew->killed);
}

static int work(struct crew *crew)
{
	int r = 0;

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

int crew_run(const struct options *options, struct host *host, const struct table *table,
	     struct crew_report *report)
{
	uint64_t start = clock_now();
	struct crew crew = {
		.options = options,
		.host = host,
		.table = table, /* in a variable on the stack, so the heap's rules are kept */
		.slots = calloc(options->workers, sizeof(struct slot)),
		.random = options->seed,
	};
	int r = crew.slots ? work(&crew) : -ENOMEM;

	if (crew.slots)
		stop_all(&crew);
	free(crew.slots);
	*report = (struct crew_report){ .killed = crew.killed, .seconds = clock_seconds_since(start) };
	return r;
}
