/* SPDX-License-Identifier: MIT */
/*
 * The daemon, killed before each of its stores: stores [--most N] [--file NAME] [--again N] [--set SETTING]... [--cover FILE]
 * [--sites FILE] [--pass] [--ends] [--chore NAME] [--plain]
 *
 * Each instruction of the daemon's that writes to memory other than its stack has its turn, but for files that keep nothing that
 * another daemon finds (sites.c): a daemon has breaks on those that had none yet, works for clients that come, die, allocate,
 * free and collect, and is killed as it comes to one. The next one recovers, with breaks on what is left: so recoveries are
 * killed, too, and recoveries from those. A daemon that came to none in so many operations of the clients' is counted; after some
 * such in a row nothing new is waited for.
 *
 * An orderly end shows but one store in a life, and only to who asks for it: when nothing new is waited for, daemons are asked to end
 * one after the other. What an end comes to is learnt from one that passes it; of that each next one is killed at what none was
 * killed at yet. With --ends only these have their turn.
 *
 * With --pass none is killed at a store: which stores its clients lead it to is learnt, in a few of its lives. With --chore they do
 * nothing but that. With --plain there are no heaps of other settings (burdens.c), which each daemon has to adopt.
 *
 * After each few deaths a daemon lives on; the heap is verified, the witness goes on, and two collections find alive
 * exactly what was alive at first.
 */
#include <err.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "chores.h"
#include "cover.h"
#include "ends.h"

#define PROGRAM "crash/heapd"

static void report(struct run *run)
{
	printf("%zu of %zu stores, %" PRIu64 " deaths, of them %" PRIu64 " in a recovery; %" PRIu64
	       " daemons; the heap looked at %" PRIu64 " times\n",
	       sites_covered(&run->sites), run->sites.n, run->deaths, run->recoveries, run->lives.born,
	       run->looks);
}

static char *read_config(const struct run *run)
{
	FILE *file = fopen(run->fixture.config, "re");
	char *text = NULL;
	size_t room = 0;

	if (!file || getdelim(&text, &room, '\0', file) < 0 || fclose(file) != 0)
		err(1, "%s", run->fixture.config);
	return text;
}

static void note_pass(void *arg, uint64_t at)
{
	struct run *run = arg;

	text_find(&run->sites.text, at)->covered = true;
	run->fresh++;
}

static void begin(struct run *run)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	char program[4096];
	void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		err(1, "mmap");
	run->shared = shared;
	snprintf(program, sizeof(program), "%s/" PROGRAM, build ? build : "build");
	setenv("HEAPD_TEST_DAEMON", PROGRAM, 1);
	run->seed = fixture_seed() | 1;
	run->sites.seed = run->seed;
	sites_load(&run->sites, program, run->file);
	run->lives.were = calloc(run->sites.n, 1);
	if (!run->lives.were)
		err(1, "calloc");
	if (run->list)
		sites_list(&run->sites, run->list);
	if (run->cover)
		cover_read(&run->sites.text, run->cover);
	/* The daemon has somebody to tell that it gets on. */
	setenv("WATCHDOG_USEC", "2000000", 1);
	fixture_start_kept(&run->fixture, run->settings);
	run->config = read_config(run);
	scene_init(&run->scene, 0);
	run->scene.board->keeper = run->fixture.daemon;
	run->witness = witness_start(&run->scene);
	run->clients = (struct crowd){
		.scene = &run->scene, .words = &run->shared->crowd, .chore = run->chore, .seed = run->seed
	};
	run->crowd = fixture_client_fork(crowd_run, &run->clients);
	run->look = (struct looker){ .scene = &run->scene,
				     .fixture = &run->fixture,
				     .crowd = &run->shared->crowd,
				     .words = &run->shared->looker,
				     .plain = run->plain };
	run->looker = fixture_client_fork(looker_run, &run->look);
	if (heapd_thread_detach(run->scene.heap) < 0)
		errx(1, "%s", heapd_error());
	if (run->pass)
		run->lives.pass = note_pass, run->lives.arg = run;
	lives_begin(&run->lives, run->fixture.daemon);
	run->lives.daemon = fixture_kept_daemon(&run->fixture);
}

/* The heaps in which clients have lied to each other are not what they say: they have been looked at in another way. */
static void leave_spoilt(struct fixture *f)
{
	static const char *const names[] = { "heap." CHORES_SPOILT ".", "heap." CHORES_UNUSED "." };

	for (size_t i = 0; i < f->nsettings; i++)
		for (size_t n = 0; n < 2; n++)
			if (strncmp(f->settings[i], names[n], strlen(names[n])) == 0)
				f->settings[i] = "daemon.LogLevel=err";
}

static void finish(struct run *run)
{
	lives_end(&run->lives);
	run->scene.board->stop = 1;
	fixture_wait(run->crowd, 0);
	fixture_wait(run->looker, 0);
	fixture_wait(run->witness, 0);
	if (heapd_detach(run->scene.heap) < 0)
		errx(1, "%s", heapd_error());
	leave_spoilt(&run->fixture);
	fixture_stop(&run->fixture);
	sites_free(&run->sites);
	free(run->lives.were);
	free(run->config);
}

static void read_options(struct run *run, int argc, char **argv)
{
	static const struct option options[] = {
		{ "most", required_argument, NULL, 'm' },
		{ "file", required_argument, NULL, 'f' },
		{ "again", required_argument, NULL, 'a' },
		{ "set", required_argument, NULL, 's' },
		{ "cover", required_argument, NULL, 'c' },
		{ "sites", required_argument, NULL, 'l' },
		{ "chore", required_argument, NULL, 'C' },
		{ "pass", no_argument, NULL, 'p' },
		{ "plain", no_argument, NULL, 'P' },
		{ "ends", no_argument, NULL, 'e' },
		{ NULL, 0, NULL, 0 },
	};
	size_t n = 4;
	int c;

	run->again = 3;
	run->settings[0] = "heap.test.GCPercent=100";
	run->settings[1] = "daemon.LogLevel=err";
	run->settings[2] = "heap." CHORES_HEAP ".Size=64M";
	run->settings[3] = "heap." CHORES_HEAP ".GCPercent=100";
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'm')
			run->most = (unsigned)atoi(optarg);
		else if (c == 'a')
			run->again = (unsigned)atoi(optarg);
		else if (c == 'f')
			run->file = optarg;
		else if (c == 'c')
			run->cover = optarg;
		else if (c == 'l')
			run->list = optarg;
		else if (c == 'C')
			run->chore = optarg;
		else if (c == 'p')
			run->pass = true;
		else if (c == 'P')
			run->plain = true;
		else if (c == 'e')
			run->ends = true;
		else if (c == 's' && n + 1 < FIXTURE_SETTINGS)
			run->settings[n++] = optarg;
		else
			exit(2);
	}
	for (size_t i = 0; !run->plain && burdens_settings[i] && n + 1 < FIXTURE_SETTINGS; i++)
		run->settings[n++] = burdens_settings[i];
}

static void say_last(int status, void *arg)
{
	const struct run *run = arg;

	for (unsigned i = 0; status && i < RUN_BATCH && *run->last[RUN_BATCH - 1]; i++)
		fprintf(stderr, "killed at %s\n", run->last[i]);
}

int main(int argc, char **argv)
{
	static struct run run;
	bool over;

	read_options(&run, argc, argv);
	begin(&run);
	run_look(&run);
	on_exit(say_last, &run);
	over = run.ends;
	while (!over && !run_is_over(&run)) {
		for (unsigned i = 0; !over && i < RUN_BATCH && !run_is_over(&run); i++)
			over = run_life(&run);
		lives_run(&run.lives, 0, 0, true);
		run_look(&run);
	}
	if (!run.pass && (run.ends || !run.most))
		ends_run(&run);
	report(&run);
	finish(&run);
	return 0;
}
