/* SPDX-License-Identifier: MIT */
/*
 * ends.c - owns the deaths of daemons in an orderly end: one store each, since what comes after it is not reached in that life.
 *
 * What an end comes to is learnt from one that passes its breaks; they have been put there as it is asked to end. Each next one
 * is killed at what it comes to first of that, or of what others came to late. So an end has all of its deaths in as many lives,
 * however seldom a daemon ends so by itself. What other threads do meanwhile counts, too.
 */
#include "ends.h"

#define VAIN 4u /* ends in a row that come to nothing new, until no other one is asked for */

static void note_come_to(void *arg, uint64_t at)
{
	struct run *run = arg;

	sites_note_end(&run->sites, at);
}

/* What none was killed at yet: all that ends are known to come to, or by chance what they come to late; of one that passes, the rest. */
static void choose(struct run *run, bool pass, bool all)
{
	if (pass)
		sites_choose_others(&run->sites);
	else
		sites_choose_ends(&run->sites, all ? 0 : crowd_draw(&run->seed) % run->sites.nends);
	run_set_breaks(run);
}

/* A daemon that has worked for some clients is asked to end: it has its breaks from then on, and is killed at one or passes all. */
static void end_once(struct run *run, bool pass, bool all)
{
	run->lives.nbreaks = 0;
	run_vary(run);
	run_wait_for(run, RUN_BRIEF);
	lives_run(&run->lives, &run->shared->crowd.done, RUN_LONG, false);
	choose(run, pass, all);
	run->lives.pass = pass ? note_come_to : NULL;
	lives_arm(&run->lives);
	lives_ask(&run->lives, RUN_LONG);
	run->lives.pass = NULL;
	if (run->lives.hit)
		run_note(run, false);
}

void ends_run(struct run *run)
{
	unsigned passed = 0, missed = 0; /* in a row */

	run->lives.arg = run;
	/* The first daemon of all was born before the tracing: it can have no breaks. */
	lives_run(&run->lives, 0, 0, true);
	for (unsigned i = 1; passed < VAIN && !run_is_over(run); i++) {
		bool pass = missed == VAIN || !sites_choose_ends(&run->sites, 0);
		size_t known = run->sites.nends;

		end_once(run, pass, missed);
		if (pass && run->sites.nends > known)
			passed = missed = 0;
		else if (pass)
			passed++;
		else
			missed = run->lives.hit ? 0 : missed + 1;
		if (i % RUN_BATCH == 0)
			run_look(run);
	}
	run_look(run);
}
