/* SPDX-License-Identifier: MIT */
/*
 * Crash images of the daemon: images [--stores N] [--every M] [--places FILE] [--log] [IMAGES]
 *
 * A daemon works for clients, by a seed, in one process (images_daemon.c), and each store to what outlives it is noted, in order: to
 * ledger, directory, control, objects and sessions, and to the store of descriptors. So the memory can be had as it was after any of them,
 * which is what a daemon leaves that is killed there. From the last image to the first, each is recovered by a new daemon as at any
 * start, judged (images_world.c), and put back. To depth two: of every Mth image's recovery each store has its image, too, which is
 * recovered again. After so many stores (--stores) the next seed has its turn, until there were IMAGES; of each seed all are tried,
 * unless one step has made very many (one seed's made a million).
 *
 * --places: where the stores stand that images lie before and after, as addresses of this program.
 */
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../fixture.h"
#include "images_daemon.h"
#include "images_hooks.h"
#include "images_keeper.h"
#include "images_tape.h"
#include "images_work.h"
#include "images_world.h"

#define CHECK_EVERY 16u  /* steps of the work */
#define FAILURES    10u  /* after which it is enough */
#define MAKINGS     256u /* of the heap's own making one image in so many */
#define LONG        4u /* times the stores wanted: of a longer tape, which one step has made, one image in so many */
#define PLACES      (UINT32_C(1) << 23)
#define LOG_FD      600 /* out of the way of descriptors that are passed */

struct run {
	struct world *world;
	struct images_daemon daemon;
	const char *const *settings;
	uint64_t seed, stores, every, wanted;
	uint64_t rounds, noted, images, second, recovery_stores, failures;
	uint64_t k, j; /* the image now; of the second depth, or 0 */
	const char *list;
	unsigned char
		*places; /* by address in the program: images before and after a store there were recovered */
	int log;
};

static struct run run;

/* Which image it was: for who has to look for the reason. */
static void on_end(int number)
{
	char line[160];
	int n = snprintf(line, sizeof(line), "signal %d: seed %" PRIu64 ", image %" PRIu64 ", %" PRIu64 "\n",
			 number, run.seed, run.k, run.j);

	(void)!write(2, line, (size_t)n);
	signal(number, SIG_DFL);
	raise(number);
}

static void fail(const char *wrong)
{
	uint64_t at = run.j ? run.j : run.k;

	fprintf(stderr,
		"seed %" PRIu64 ", image %" PRIu64 ", %" PRIu64 ", after the store at 0x%" PRIx64 ": %s\n",
		run.seed, run.k, run.j, at ? tape_place(at - 1) - 1 : 0, wrong);
	if (++run.failures == FAILURES)
		exit(1);
}

static void back(uint64_t at)
{
	tape_back(at);
	keeper_back(at);
}

/* Of what lies there a new daemon, judged, and its end: where its recovery was over on the tape; what comes after it is to be undone. */
static uint64_t recover(void)
{
	const char *wrong = NULL;
	uint64_t end;

	if (images_daemon_start(&run.daemon, run.settings, run.log) < 0)
		wrong = "it is not recovered";
	end = tape_at();
	if (!wrong)
		wrong = world_judge(run.world, &run.daemon);
	images_daemon_die(&run.daemon);
	if (wrong) {
		back(end);
		fail(wrong);
	}
	run.images++;
	return end;
}

static void note_place(uint64_t at)
{
	if (at)
		run.places[tape_place(at - 1) % PLACES] = 1;
}

/* Each moment of a recovery. */
static void second_depth(uint64_t k, uint64_t end)
{
	for (uint64_t j = end; j > k; j--) {
		back(j);
		note_place(j);
		if (!tape_is_image(j))
			continue;
		run.j = j;
		recover();
		run.second++;
	}
	run.j = 0;
}

/* made: by a heap that was not there yet. */
static void image(uint64_t k, bool made)
{
	uint64_t end;

	run.k = k;
	if (!tape_is_image(k))
		return;
	end = recover();
	if (!made)
		run.recovery_stores += end - k;
	if ((k + run.seed) % run.every == 0 && !made)
		second_depth(k, end);
	back(k);
}

/* Where on the tape the heap was there: what is killed before has nobody attached. */
static uint64_t work(void)
{
	struct work work;
	uint64_t begin;

	if (images_daemon_start(&run.daemon, run.settings, run.log) < 0)
		errx(1, "no daemon");
	begin = tape_at();
	work_begin(&work, run.seed, &run.daemon, run.world);
	for (unsigned n = 0; tape_at() < begin + run.stores; n++) {
		work_step(&work);
		if (n % CHECK_EVERY == 0)
			work_check(&work);
	}
	return begin;
}

static void round_of(uint64_t seed)
{
	uint64_t sum = tape_sum(), begin, n, stride;

	run.seed = seed;
	run.settings = work_settings(seed);
	run.k = run.j = 0;
	hooks_begin(seed);
	begin = work();
	n = tape_at();
	images_daemon_die(&run.daemon);
	back(n);
	run.noted += n;
	stride = 1 + (n - begin) / (LONG * run.stores);
	for (uint64_t k = n + 1; k-- > 0;) {
		uint64_t which = k < begin ? (k + seed) % MAKINGS : 1;

		/* Each has a heap made anew: one in so many, and the one before it. */
		if (which > 1 || (k >= begin && k % stride > 1))
			continue;
		back(k);
		if (which)
			note_place(k);
		image(k, k < begin);
	}
	back(0);
	if (tape_sum() != sum)
		errx(1, "seed %" PRIu64 ": not every store was noted", seed);
	run.rounds++;
}

static void list_places(void)
{
	FILE *file = fopen(run.list, "we");

	if (!file)
		err(1, "%s", run.list);
	for (uint32_t i = 1; i < PLACES; i++)
		if (run.places[i])
			fprintf(file, "0x%x\n", i - 1);
	if (fclose(file) != 0)
		err(1, "%s", run.list);
}

static void report(void)
{
	struct rusage used;
	double seconds;

	getrusage(RUSAGE_SELF, &used);
	seconds = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		  (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
	fprintf(stdout,
		"%" PRIu64 " seeds, %" PRIu64 " stores of the work's, %" PRIu64 " images, of them %" PRIu64
		" of recoveries (of %" PRIu64 " stores each, about), %.0f a second of a processor's; %" PRIu64
		" failures\n",
		run.rounds, run.noted, run.images, run.second,
		run.images > run.second ? run.recovery_stores / (run.images - run.second) : 0,
		(double)run.images / seconds, run.failures);
}

/* Descriptors of this program's own lie above those that are passed to a daemon. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		err(1, "getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		err(1, "setrlimit");
}

static void read_options(int argc, char **argv)
{
	static const struct option options[] = { { "stores", required_argument, NULL, 's' },
						 { "every", required_argument, NULL, 'e' },
						 { "places", required_argument, NULL, 'p' },
						 { "log", no_argument, NULL, 'l' },
						 { 0 } };
	int c;

	run.stores = 1500;
	run.every = 16;
	run.log = fcntl(open("/dev/null", O_WRONLY | O_CLOEXEC), F_DUPFD_CLOEXEC, LOG_FD);
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 's')
			run.stores = strtoull(optarg, NULL, 0);
		else if (c == 'e')
			run.every = strtoull(optarg, NULL, 0);
		else if (c == 'p')
			run.list = optarg;
		else if (c == 'l')
			run.log = 2;
		else
			exit(2);
	}
	run.wanted = optind < argc ? strtoull(argv[optind], NULL, 0) : 1;
}

int main(int argc, char **argv)
{
	uint64_t seed = fixture_seed();

	raise_file_limit();
	read_options(argc, argv);
	if (run.log < 0 || !run.every)
		errx(2, "images [--stores N] [--every M] [--places FILE] [--log] [IMAGES]");
	close(3);
	run.places = calloc(PLACES, 1);
	if (!run.places)
		err(1, "calloc");
	signal(SIGABRT, on_end);
	signal(SIGSEGV, on_end);
	signal(SIGBUS, on_end);
	keeper_begin();
	run.world = world_make();
	while (run.images < run.wanted)
		round_of(seed++);
	if (run.list)
		list_places();
	report();
	return run.failures ? 1 : 0;
}
