/* SPDX-License-Identifier: MIT */
/* run.c - owns the course of a daemon's life beside clients, which ends at a break, or is asked to end, or is cut short. */
#include "run.h"

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cover.h"

#define LIFE   96u /* operations of clients' that a daemon lives for if it comes to no break */
#define SINGLE 12u /* ... for if they do nothing but one chore */
#define EARLY  2u  /* daemons in a row that may die before they answer: the keeper's pauses grow with them */
#define EXTRAS 1200u /* heaps that come up, every four lives another: each is made anew, and kept */
#define MANY   8u    /* in one of so many lives there are more heaps than one answer names */
#define MANIES 8u    /* so many more */

bool run_is_over(const struct run *run)
{
	return run->most && run->deaths >= run->most;
}

void run_wait_for(const struct run *run, uint32_t operations)
{
	struct crowd_words *crowd = &run->shared->crowd;

	crowd->left = 0;
	crowd->done = 0;
	crowd->left = operations;
}

/* The configuration that the next daemon reads, or this one if it is told to: with a heap more, which is another one after a while. */
void run_vary(const struct run *run)
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

void run_set_breaks(struct run *run)
{
	run->lives.breaks = run->sites.breaks;
	run->lives.nbreaks = run->sites.nbreaks;
}

void run_look(struct run *run)
{
	run->looks++;
	looker_look(&run->look, &run->lives);
	if (run->cover)
		cover_write(&run->sites.text, run->cover);
}

static void remember(struct run *run, const char *name)
{
	memmove(run->last[0], run->last[1], sizeof(run->last) - sizeof(run->last[0]));
	snprintf(run->last[RUN_BATCH - 1], sizeof(run->last[0]), "%s", name);
}

void run_note(struct run *run, bool early)
{
	struct instruction *in = text_find(&run->sites.text, run->lives.hit);
	char name[128];

	run->fresh += !in->covered;
	in->covered = true;
	run->deaths++;
	text_name(&run->sites.text, run->lives.hit, name, sizeof(name));
	run->recoveries += strncmp(name, "rebuild", 7) == 0 || strncmp(name, "recover", 7) == 0;
	run->early = early ? run->early + 1 : 0;
	remember(run, name);
}

/* Whether none of those that had no death is missing. Where none is killed, all have breaks. */
static bool choose(struct run *run)
{
	bool all = sites_choose(&run->sites, run->barren || run->pass, !run->pass && !run->most);

	run_set_breaks(run);
	return all;
}

/* A life without a death: half of them end by being asked to. */
static void end_well(struct run *run)
{
	run_vary(run);
	if (crowd_draw(&run->seed) % 2)
		lives_ask(&run->lives, RUN_LONG);
}

/* With breaks that it has not had from its birth: it has answered before. */
static bool go_on_armed(struct run *run, uint32_t operations)
{
	bool all = choose(run);

	run->early = 0;
	run_wait_for(run, operations);
	lives_arm(&run->lives);
	run_vary(run);
	if (crowd_draw(&run->seed) % 2 && run->lives.daemon)
		kill(run->lives.daemon, SIGHUP);
	lives_run(&run->lives, &run->shared->crowd.done, RUN_LONG, false);
	return all;
}

bool run_life(struct run *run)
{
	/* Where none is killed each way has its turn. */
	bool early = run->pass ? run->lives.born % 2 : run->early < EARLY, all = false,
	     brief = crowd_draw(&run->seed) % 4 == 0;
	uint32_t operations = brief ? RUN_BRIEF : run->chore ? SINGLE : LIFE;
	uint64_t fresh = run->fresh;

	run->lives.nbreaks = 0;
	if (early)
		all = choose(run);
	run_vary(run);
	/* The one before dies; the next one is born with them. */
	lives_run(&run->lives, 0, 0, true);
	run_wait_for(run, early ? operations : 2);
	lives_run(&run->lives, &run->shared->crowd.done, RUN_LONG, false);
	if (!early)
		all = go_on_armed(run, operations);
	if (!run->lives.hit)
		end_well(run);
	if (run->lives.hit)
		run_note(run, early);
	if (run->fresh != fresh)
		run->barren = 0;
	else
		run->barren += all && !brief && !run->lives.hit;
	return run->barren >= run->again;
}
