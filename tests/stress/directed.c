/* SPDX-License-Identifier: MIT */
/*
 * Scenarios for rules of the collector that matter only when several threads stand at one instruction each: directed [NAME...].
 * Each is named after the mutant that leaves the rule out (heapd/mutant.h). With the rule, all is well in the end; without it an
 * object that is held is taken back, a slot is in two places, or the daemon meets what it cannot explain. The threads are stopped
 * at steps (heapd/step.h), so each meets its moment the first time. In the end two collections leave what the roots lead to (bound.c).
 *
 * The main thread is the one that holds or takes; another conducts, and never touches the heap. Exit status: 0; 1: said what; 2: a moment was
 * not met, in three tries, and nothing is known.
 */
#ifndef HEAPD_INJECT
#define HEAPD_INJECT /* the steps: there is nothing to see here without them */
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bound.h"
#include "client/client.h"
#include "scene.h"

struct scenario {
	const char *name;
	void (*run)(struct scene *s);
	bool hardened;
	int (*other)(void *scene);       /* by another process, forked before the heap is attached */
	void (*before)(struct scene *s); /* in this one, likewise */
};

static const struct scenario scenarios[] = {
	{ "one_round", one_round, .hardened = false },
	{ "rings_emptied_late", rings_emptied_late, .hardened = false },
	{ "newcomers_unseen", newcomers_unseen, .other = newcomers_unseen_other },
	{ "no_insertion_shade", no_insertion_shade, .hardened = false },
	{ "no_last_pass", no_last_pass, .hardened = false },
	{ "push_in_cycle", push_in_cycle, .hardened = false },
	{ "harvest_in_cycle", harvest_in_cycle, .hardened = false },
	{ "newborn_by_slab", newborn_by_slab, .hardened = false },
	{ "newborn_early", newborn_early, .hardened = false },
	{ "newborns_reused", newborns_reused, .hardened = false },
	{ "handed_back_unnoted", handed_back_unnoted, .hardened = false },
	{ "lost_install_unseen", lost_install_unseen, .hardened = false },
	{ "withdrawn_unlocked", withdrawn_unlocked, .hardened = false },
	{ "lent_first", lent_first, .hardened = false },
	{ "dead_forgotten", dead_forgotten, .other = dead_forgotten_other },
	{ "standing_ignored", standing_ignored, .before = standing_ignored_before },
	{ "unclaimed", unclaimed, .hardened = true },
	{ "unclaimed_in_cycle", unclaimed_in_cycle, .hardened = true },
	{ "dead_unlent", dead_unlent, .hardened = false },
	{ "lent_before_gate", lent_before_gate, .hardened = true },
};

#define TRIES 3u

/* In a process of its own. */
static void scenario_run(const struct scenario *scenario)
{
	const char *const settings[] = { "heap.test.GCPercent=10000", "heap.test.GCInterval=off",
					 scenario->hardened ? "heap.test.Hardened=yes" : NULL, NULL };
	static struct scene s;
	uint64_t began = fixture_now_ns();

	steps_make(&s);
	fixture_start(&s.fixture, settings);
	if (scenario->other)
		s.other_pid = fixture_client_fork(scenario->other, &s);
	if (scenario->before)
		scenario->before(&s);
	must(heapd_attach(&s.heap, FIXTURE_HEAP, NULL));
	shapes_define(&s);
	scenario->run(&s);
	if (s.other_pid)
		fixture_wait(s.other_pid, 0);
	check_clean(&s);
	must(heapd_detach(s.heap));
	fixture_wait(fixture_client_fork(stress_bound, NULL), 0);
	fixture_stop(&s.fixture);
	printf("%.1f s: %s: all is well\n", (double)(fixture_now_ns() - began) / 1e9, scenario->name);
}

static bool is_named(const char *name, char **names)
{
	for (char **at = names; *at; at++)
		if (strcmp(*at, name) == 0)
			return true;
	return !*names;
}

/* In a process of its own: how that ended. */
static int scenario_try(const struct scenario *scenario)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		scenario_run(scenario);
		exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		miss("no process");
	return status;
}

int main(int argc, char **argv)
{
	int status, bad = 0;

	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	unsetenv("HEAPD_DELAY_US");
	for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (!is_named(scenarios[i].name, argv + 1))
			continue;
		status = scenario_try(&scenarios[i]);
		for (unsigned tries = 1; tries < TRIES && WIFEXITED(status) && WEXITSTATUS(status) == 2;
		     tries++)
			status = scenario_try(&scenarios[i]);
		if (status) {
			printf("FAILED: %s: status 0x%x\n", scenarios[i].name, (unsigned)status);
			bad |= WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		}
	}
	return bad;
}
