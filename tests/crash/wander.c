/* SPDX-License-Identifier: MIT */
/*
 * wander.c - owns what a process does that wanders: an operation of any table, and then, in whatever that has left it in, calls of all kinds,
 * with the weather changing in between.
 *
 * Where an operation is known to leave nothing to stand on (another heap, none, a word set by hand) it goes on with what it finds: it makes
 * its own objects, and does without where it gets none.
 */
#include "wander.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conditions.h"
#include "meeting.h"
#include "stroll.h"

static unsigned count(const struct operation *o)
{
	unsigned n = 0;

	while (o[n].name)
		n++;
	return n;
}

const struct operation *wander_nth(unsigned n)
{
	if (n < scene_noperations)
		return &scene_operations[n];
	n -= scene_noperations;
	for (unsigned i = 0; more_operations[i]; i++) {
		if (n < count(more_operations[i]))
			return &more_operations[i][n];
		n -= count(more_operations[i]);
	}
	return NULL;
}

static unsigned all_operations(void)
{
	unsigned n = scene_noperations;

	for (unsigned i = 0; more_operations[i]; i++)
		n += count(more_operations[i]);
	return n;
}

bool wander_may(const struct wanderer *w, const struct operation *o)
{
	return (o->barriers & 1u << w->barrier) && (!o->spoils || w->spoils);
}

const struct operation *wander_draw(const struct wanderer *w, uint64_t *seed, const char *only)
{
	const struct operation *o;

	do
		o = wander_nth((unsigned)(stroll_draw(seed) % all_operations()));
	while (only ? strcmp(o->name, only) != 0 : !wander_may(w, o));
	return o;
}

/* Those that turn round until they are told are over after a while: what the agent does late is to be met, once. */
static void *end_soon(void *wanderer)
{
	const struct wanderer *w = wanderer;

	scene_pass(w->straight ? UINT64_C(700000000) : UINT64_C(100000000));
	_exit(0);
}

static void *run_in_thread(void *wanderer)
{
	const struct wanderer *w = wanderer;

	w->did->run(w->scene);
	return NULL;
}

/* From the time that the operation begins on. */
static void *help(void *wanderer)
{
	const struct wanderer *w = wanderer;
	struct board *board = w->scene->board;

	heapd_thread_attach(w->scene->heap);
	board->helper = (uint32_t)gettid();
	for (;;) {
		while (board->meeting != MEETING_ASKED)
			usleep(20);
		w->did->meanwhile(w->scene);
		board->meeting = MEETING_READY;
	}
	return NULL;
}

static void begin_help(const struct wanderer *w)
{
	struct board *board = w->scene->board;
	pthread_t thread;

	if (pthread_create(&thread, NULL, help, (void *)(uintptr_t)w) != 0)
		_exit(2);
	while (!board->helper)
		usleep(20);
	board->meeting = MEETING_READY;
}

static void do_first(const struct wanderer *w)
{
	pthread_t thread;

	if (w->did->prepare)
		w->did->prepare(w->scene);
	if (w->did->met && w->straight)
		begin_help(w);
	if (w->did->where == IN_AGENT || w->did->where == IN_SIGNAL) {
		w->scene->board->collect = 1;
		if (pthread_create(&thread, NULL, end_soon, (void *)(uintptr_t)w) != 0)
			_exit(2);
		w->did->run(w->scene);
	} else if (w->did->where == IN_THREAD) {
		if (pthread_create(&thread, NULL, run_in_thread, (void *)(uintptr_t)w) != 0)
			_exit(2);
		pthread_join(thread, NULL);
	} else {
		w->did->run(w->scene);
	}
}

/* As that of an operation, it holds by its stack what it works on. */
_Noreturn void wander_run(const struct wanderer *wanderer)
{
	struct scene scene = *wanderer->scene;
	struct wanderer w = *wanderer;

	w.scene = &scene;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!scene.board->go)
		usleep(50);
	if (!w.loud && !freopen("/dev/null", "w", stderr))
		_exit(1);
	if (w.straight || stroll_draw(&w.seed) % 4)
		do_first(&w);
	if (!w.straight)
		stroll(&scene, w.seed, w.barrier);
	_exit(0);
}
