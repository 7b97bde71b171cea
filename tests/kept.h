/* SPDX-License-Identifier: MIT */
/*
 * kept.h - heapd --keep, whose daemons come and go, and what the processes of a test tell each other.
 */
#ifndef HEAPD_TESTS_KEPT_H
#define HEAPD_TESTS_KEPT_H

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"
#include "heapd.h"
#include "slowness.h"

#define MS      1000000u
#define BIG     100000u              /* bytes of a large object */
#define ENDS_MS (5000u * slowness()) /* until the daemon has heard of the last ends, at most */
/* Of a processor: ten times what a daemon has here in all its life, also under ThreadSanitizer. */
#define RUN_NS UINT64_C(10000000000)

/* What the processes of a test tell each other. */
struct board {
	_Atomic uint32_t stop;
	_Atomic uint64_t turns[16];
	_Atomic uint64_t longest; /* ns: of a request of the prober's, since it was looked at */
	_Atomic uint64_t answers; /* that the prober has had */
};

static struct fixture f;
static struct board *board;
static uint64_t seed;

static const char *const settings[] = { "heap.test.GCPercent=50", "heap.test.Limit=512M", NULL };

static inline void setup_with(const char *const *chosen)
{
	seed = fixture_seed();
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	fixture_start_kept(&f, chosen);
}

static inline void setup(void)
{
	setup_with(settings);
}

static inline void teardown(void)
{
	fixture_stop(&f);
	munmap(board, sizeof(*board));
}

static inline void sleep_ns(uint64_t ns)
{
	struct timespec t = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

	nanosleep(&t, NULL);
}

static inline int failed_at(const char *what)
{
	fprintf(stderr, "process %d: %s: %s (%s)\n", getpid(), what, heapd_error(), strerror(errno));
	return 1;
}

static inline int attach(heapd_heap **heap)
{
	return heapd_attach(heap, FIXTURE_HEAP, NULL) < 0 ? failed_at("attach") : 0;
}

/* One that was to end before, and took its time, may be buried by its keeper meanwhile: then the next one is meant. */
static inline void kill_daemon(int number)
{
	int r;

	do
		r = kill(fixture_kept_daemon(&f), number);
	while (r < 0 && errno == ESRCH);
	ck_assert_int_eq(r, 0);
}

/* What the daemon of this moment has had of the processors, with all its threads. */
static inline uint64_t daemon_ran_ns(void)
{
	struct timespec t = { 0 };
	clockid_t clock;

	if (clock_getcpuclockid(fixture_kept_daemon(&f), &clock) == 0)
		clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/*
 * False: it has not come while a daemon had more of a processor than it needs for that. How long it takes to get so much is the
 * machine's: forty others may want the processors. What never comes because somebody sleeps is ended by the test's limit.
 */
static inline bool becomes(const _Atomic uint64_t *word, uint64_t wanted)
{
	uint64_t begin = daemon_ran_ns(), ran = begin;

	while (*word < wanted && ran - begin < RUN_NS) {
		sleep_ns(MS);
		ran = daemon_ran_ns();
		if (ran < begin) /* another one */
			begin = ran;
	}
	return *word >= wanted;
}

/* A daemon's end, and the next one's beginning. */
static inline void restart(void)
{
	pid_t before = fixture_kept_daemon(&f);

	kill_daemon(SIGKILL);
	while (fixture_kept_daemon(&f) == before)
		sleep_ns(MS);
}

static inline uint64_t sessions(heapd_heap *heap)
{
	struct heapd_info info = HEAPD_SIZED(struct heapd_info);

	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	return info.sessions;
}

#endif
