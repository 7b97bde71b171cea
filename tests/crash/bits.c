/* SPDX-License-Identifier: MIT */
/*
 * Every bit that a client can write: bits [--most N] [--group N] [--verify N] [--heap NAME] [--from WORD]
 *
 * For each of three heaps (nothing collected; collected; collected back to back) a client that is nothing but the protocol
 * flips the bits of control and of its session, then puts evil values into whole words (changes.h), and has the daemon do all that it
 * does while each change stands (demands.h; --verify 7: it verifies at each seventh, where that takes long). With the words
 * that clients hold slabs by cleared, the heap itself is clean: the daemon's truth was never theirs.
 *
 * Which words a daemon loads is noted before, while it is made to do the same with nothing amiss, and then while all that hold nothing
 * and that it did not load are changed, again until it loads no others. What it never loads is changed in groups (--group 1: each by
 * itself, which is a night's work). No bit is left out, which is checked. With --most nothing is looked at before, and so many in 64 of all
 * are drawn.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../fixture.h"
#include "changes.h"
#include "demands.h"
#include "loaded.h"
#include "scene.h"

#define HEAPS   3u
#define STUDIED 1024u /* works with nothing amiss, while it is noted what the daemon loads */
#define ROUND   64u   /* of them between two verifications */
#define SELDOM  24u   /* verified at each such work while it is noted, which makes it slow */

/* What attackers have done. */
struct tally {
	struct demands_count demands;
	struct changes_count changes;
};

struct run {
	struct fixture fixture;
	struct scene scene; /* of the other heap */
	struct tally *tally;
	struct demands demands;
	struct changes changes;
	pid_t witness;
	uint64_t evictions, from;
	const char *only;
	unsigned index;        /* of the heap */
	struct loads loads;    /* the daemon's, as it is studied */
	struct loaded *loaded; /* of each heap */
};

static const char *const heaps[HEAPS] = { "plain", "collected", "stress" };

/* By what the clients of it seemed to hold nothing is to be judged. */
static void currents_clear(struct hostile *h)
{
	memset(h->tables.rseq_rows, 0, h->geometry.cpus << HEAPD_RSEQ_ROW_SHIFT);
	memset(h->tables.cas_rows, 0, h->geometry.cpus << HEAPD_ROW_SHIFT);
	memset(h->threads, 0, HOSTILE_THREADS * sizeof(*h->threads));
}

/* What the daemon loads ------------------------------------------------------------------------------------------------ */

static void study_usual(struct run *run, struct hostile *h)
{
	for (uint64_t n = 1; n <= STUDIED; n++) {
		demands_work(&run->demands, h, n);
		if (n % ROUND == 0)
			demands_round_end(&run->demands, h);
	}
}

/* A word that is loaded only while it, or another one, is changed: it hides others of its group, which the next pass shows. */
static void study_changed(struct run *run, struct hostile *h)
{
	struct demands demands = run->demands;
	struct changes changes = run->changes;

	demands.verify = SELDOM;
	changes.demands = &demands;
	changes.idle = true;
	changes_begin(changes.count, 0);
	changes_make(&changes, h);
}

/* It leaves as a process that dies: nothing of that heap is looked at again. */
static int study(void *arg)
{
	struct run *run = arg;
	struct hostile h = { .name = heaps[run->index] };
	struct loaded *loaded = &run->loaded[run->index];
	unsigned before;

	hostile_attach(&h, &run->fixture);
	study_usual(run, &h);
	loads_take(&run->loads, h.control_inode, loaded);
	printf("  %-12s %8u words of control that the daemon loads\n", h.name, loaded_count(loaded));
	fflush(stdout);
	do {
		before = loaded_count(loaded);
		study_changed(run, &h);
		loads_take(&run->loads, h.control_inode, loaded);
		printf("  %-12s %8u while those that hold nothing are changed\n", "", loaded_count(loaded));
		fflush(stdout);
	} while (before && loaded_count(loaded) > before);
	return 0;
}

static int attack(void *arg)
{
	struct run *run = arg;
	struct hostile h = { .name = heaps[run->index] };

	hostile_attach(&h, &run->fixture);
	changes_make(&run->changes, &h);
	demands_round_end(&run->demands, &h);
	currents_clear(&h);
	hostile_leave(&h);
	return 0;
}

/* Of all its words, none is left out. */
static void say_heap(const struct run *run, const char *name, const struct tally *before)
{
	const struct changes_count *c = &run->tally->changes, *c0 = &before->changes;
	const struct demands_count *d = &run->tally->demands, *d0 = &before->demands;
	uint64_t alone = c->alone - c0->alone, together = c->together - c0->together;

	printf("  %-12s %9" PRIu64 " bits %9" PRIu64 " evil words: %" PRIu64 " words each by itself, %" PRIu64
	       " in groups of %u; %" PRIu64 " held up collection\n",
	       name, c->bits - c0->bits, c->words - c0->words, alone, together, run->changes.grouped,
	       d->stalls - d0->stalls);
	printf("  %-12s of %" PRIu64 " changes %" PRIu64 " met objects; these were made anew %" PRIu64
	       " times, and %" PRIu64 " times that failed\n",
	       "", d->works - d0->works, d->lively - d0->lively, d->filled - d0->filled,
	       d->unfilled - d0->unfilled);
	fflush(stdout);
	if (!run->changes.most && alone + together + run->from != c->place)
		errx(1, "heap %s: %" PRIu64 " words were left out", name,
		     c->place - alone - together - run->from);
}

/*
 * The daemon ends a process that has said farewell with threads attached, since nobody could ask it any more what it
 * holds: an attacker that has made itself look like that has the next one go on from there.
 */
static void attack_heap(struct run *run, const char *name)
{
	const struct tally before = *run->tally;
	siginfo_t info;

	changes_begin(&run->tally->changes, run->from);
	do {
		pid_t pid = fixture_client_fork(attack, run);

		while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0)
			if (errno != EINTR)
				err(1, "waitid");
		run->changes.seed += 2;
		run->evictions += info.si_code == CLD_KILLED;
	} while (info.si_code == CLD_KILLED && info.si_status == SIGKILL);
	if (info.si_code != CLD_EXITED || info.si_status != 0)
		errx(1, "heap %s: the attacker ended with %d", name, info.si_status);
	if (fixture_verify(&run->fixture, name) != 0)
		errx(1, "heap %s is not clean", name);
	if (fixture_verify(&run->fixture, FIXTURE_HEAP) != 0)
		errx(1, "the other heap is not clean");
	say_heap(run, name, &before);
}

static int guard(void *arg)
{
	struct run *run = arg;

	scene_init(&run->scene, 0);
	return witness_run(&run->scene);
}

static void read_options(struct run *run, int argc, char **argv)
{
	static const struct option options[] = {
		{ "most", required_argument, NULL, 'm' },   { "group", required_argument, NULL, 'g' },
		{ "verify", required_argument, NULL, 'v' }, { "from", required_argument, NULL, 'f' },
		{ "heap", required_argument, NULL, 'h' },   { 0 }
	};
	int c;

	run->changes.grouped = CHANGES_GROUP;
	run->demands.verify = 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'm')
			run->changes.most = (unsigned)atoi(optarg);
		else if (c == 'g' && atoi(optarg) > 0 && (unsigned)atoi(optarg) <= CHANGES_GROUP)
			run->changes.grouped = (unsigned)atoi(optarg);
		else if (c == 'v' && atoi(optarg) > 0)
			run->demands.verify = (unsigned)atoi(optarg);
		else if (c == 'f')
			run->from = strtoull(optarg, NULL, 10);
		else if (c == 'h')
			run->only = optarg;
		else
			exit(2);
	}
}

static void *shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

/* One daemon for each: one that collects back to back leaves less of a processor to the others. */
static void run_open(struct run *run)
{
	static const char *const plain[] = { "heap.plain.Size=64M", NULL };
	static const char *const collected[] = { "heap.collected.Size=64M", "heap.collected.GCPercent=100",
						 NULL };
	static const char *const stress[] = { "heap.stress.Size=64M", "heap.stress.GCPercent=100",
					      "heap.stress.Debug=stress", NULL };
	static const char *const *const own[HEAPS] = { plain, collected, stress };
	const char *settings[8] = { "heap.test.GCPercent=100", "daemon.LogLevel=err" };
	unsigned n = 2;

	for (const char *const *more = own[run->index]; *more; more++)
		settings[n++] = *more;
	fixture_start(&run->fixture, settings);
	run->scene.board = board_make();
	run->witness = fixture_client_fork(guard, run);
	run->demands.board = run->scene.board;
	run->demands.progress = 0;
	run->demands.reachable = DEMANDS_ALIVE;
	run->changes.loaded = &run->loaded[run->index];
}

static void run_close(struct run *run)
{
	run->scene.board->stop = 1;
	fixture_wait(run->witness, 0);
	fixture_stop(&run->fixture);
}

/* Each heap, or the one that was asked for. */
static void each_heap(struct run *run, void (*what)(struct run *run, const char *name))
{
	for (run->index = 0; run->index < HEAPS; run->index++) {
		const char *name = heaps[run->index];

		if (run->only && strcmp(run->only, name) != 0)
			continue;
		run_open(run);
		fixture_wait(fixture_client_fork(demands_fill, (void *)(uintptr_t)name), 0);
		what(run, name);
		run_close(run);
	}
}

static void study_heap(struct run *run, const char *name)
{
	fixture_wait(fixture_client_fork(study, run), 0);
	if (!loaded_count(&run->loaded[run->index]))
		errx(1, "heap %s: the daemon loads nothing of control: does it note what it loads?", name);
}

static void study_all(struct run *run)
{
	loads_begin(&run->loads);
	each_heap(run, study_heap);
	loads_end(&run->loads);
	memset(run->tally, 0, sizeof(*run->tally));
}

static void begin(struct run *run)
{
	run->tally = shared(sizeof(*run->tally));
	run->loaded = shared(HEAPS * sizeof(*run->loaded));
	run->demands.fixture = &run->fixture;
	run->demands.count = &run->tally->demands;
	run->demands.place = &run->tally->changes.place;
	run->changes.demands = &run->demands;
	run->changes.count = &run->tally->changes;
	run->changes.seed = fixture_seed() | 1;
}

static void report(const struct run *run)
{
	const struct demands_count *d = &run->tally->demands;

	printf("%" PRIu64 " bits, %" PRIu64 " evil words; %" PRIu64 " verifications, of which %" PRIu64
	       " found what clients hold amiss; %" PRIu64 " sessions and %" PRIu64
	       " processes ended by the daemon\n",
	       run->tally->changes.bits, run->tally->changes.words, d->verifications, d->faults, d->dropped,
	       run->evictions);
}

int main(int argc, char **argv)
{
	static struct run run;

	read_options(&run, argc, argv);
	begin(&run);
	if (!run.changes.most && loads_can())
		study_all(&run);
	else if (!run.changes.most)
		printf("no daemon that notes what it loads: all words that hold nothing are changed in groups\n");
	each_heap(&run, attack_heap);
	report(&run);
	return 0;
}
