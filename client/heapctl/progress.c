/* SPDX-License-Identifier: MIT */
/*
 * progress.c - owns the line on standard error that long work shows: only on a terminal, not before it has taken a
 * moment, and gone when the work is done, so that what is printed stands alone.
 */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "heapd/atomic.h"

#define FIRST_NS UINT64_C(500000000)
#define EACH_NS  UINT64_C(100000000)
#define BAR      20u

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void progress_begin(struct progress *p, const char *what)
{
	*p = (struct progress){ .what = what, .began = now_ns(), .tell = isatty(STDERR_FILENO) };
}

void progress_step(struct progress *p, uint64_t done, uint64_t all)
{
	static const char full[] = "####################", none[] = "                    ";
	uint64_t now = p->tell ? now_ns() : 0;
	unsigned filled = all ? (unsigned)((double)(done < all ? done : all) * BAR / (double)all) : 0;

	if (!p->tell || now - p->began < FIRST_NS || now - p->told < EACH_NS)
		return;
	p->told = now;
	p->shown = true;
	fprintf(stderr, "\r\033[K%s [%.*s%.*s] %" PRIu64 " of %" PRIu64, p->what, (int)filled, full,
		(int)(BAR - filled), none, done, all);
}

/* The first step is taken before the first wait, so that a watch is seen to work however short it is. */
static void *watch(void *arg)
{
	struct progress *p = arg;
	struct timespec until;

	do {
		uint64_t done = HEAPD_READ_ONCE(*p->done), all = HEAPD_READ_ONCE(*p->all);

		progress_step(p, done, done < all ? all : done);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += (long)EACH_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
	} while (sem_timedwait(&p->over, &until) < 0);
	return NULL;
}

/* Without a thread nothing is told. */
void progress_watch(struct progress *p, const char *what, const uint64_t *done, const uint64_t *all)
{
	progress_begin(p, what);
	p->done = done;
	p->all = all;
	if (!p->tell || sem_init(&p->over, 0, 0) < 0)
		return;
	p->watching = pthread_create(&p->watcher, NULL, watch, p) == 0;
	if (!p->watching)
		sem_destroy(&p->over);
}

static void watch_end(struct progress *p)
{
	sem_post(&p->over);
	pthread_join(p->watcher, NULL);
	sem_destroy(&p->over);
	p->watching = false;
}

void progress_end(struct progress *p)
{
	if (p->watching)
		watch_end(p);
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
