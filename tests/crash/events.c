/* SPDX-License-Identifier: MIT */
/*
 * events.c - owns the operations of a process that is told what happens. They have a heap of their own, since objects that wait to be taken as
 * dead, and free slots beside them, count as alive, and what is alive in the first heap is counted.
 */
#include <err.h>
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "conditions.h"

static void prepare_watched(struct scene *s)
{
	attach_other(s, "small", 0);
	s->watched = heapd_type_define(s->heap, "watched", struct node, next);
	if (!s->watched || heapd_type_watch_dead(s->watched) < 0)
		errx(1, "%s", heapd_error());
	use(heapd_type_alloc(s->watched, sizeof(struct node)));
	sink += (uint64_t)heapd_event_fd(s->heap);
}

static void prepare_told(struct scene *s)
{
	prepare_watched(s);
	for (unsigned i = 0; i < 2; i++)
		sink += (uint64_t)heapd_collect(s->heap);
	usleep(5000);
}

static void prepare_told_twice(struct scene *s)
{
	prepare_told(s);
	calls_fail(CALL_EVENTFD, 1, 1, EMFILE);
}

static void told(struct scene *s)
{
	struct heapd_event event = HEAPD_SIZED(event);

	for (unsigned i = 0; i < 3; i++)
		sink += (uint64_t)heapd_event_next(s->heap, &event);
	use(heapd_type_next_dead(s->watched));
}

static void told_child(struct scene *s)
{
	pid_t pid = fork();

	if (pid == 0) {
		told(s);
		return;
	}
	waitpid(pid, NULL, 0);
	_exit(0);
}

/* The agent hears of a collection's end, and of who died in it. */
static void told_meanwhile(struct scene *s)
{
	while (!s->board->spin)
		sink += (uint64_t)heapd_collect(s->heap);
}

const struct operation events[] = {
	OPERATION("told", prepare_told, told, IN_MAIN, ONCE),
	OPERATION("told-child", prepare_told, told_child, IN_CHILD, ONCE),
	OPERATION("told-child-none", prepare_told_twice, told_child, IN_CHILD, ONCE),
	{ .name = "agent-told",
	  .prepare = prepare_watched,
	  .run = told_meanwhile,
	  .where = IN_AGENT,
	  .barriers = ONCE,
	  .rounds = 12 },
	{ 0 },
};
