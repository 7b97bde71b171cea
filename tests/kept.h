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

#define MS      1000000u
#define BIG     100000u /* bytes of a large object */
#define ENDS_MS 5000u   /* until the daemon has heard of the last ends, at most */

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

static inline bool becomes(const _Atomic uint64_t *word, uint64_t wanted)
{
	uint64_t end = fixture_now_ns() + 20000u * (uint64_t)MS;

	while (*word < wanted && fixture_now_ns() < end)
		sleep_ns(MS);
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
