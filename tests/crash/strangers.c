/* SPDX-License-Identifier: MIT */
/*
 * strangers.c - owns the operations of a client at whose socket's name another daemon has come up, one that does not know it: it is lost to
 * its heap for good; and of one whose reports are written, since it has no function for them.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "conditions.h"

/* Its agent looks at a word from time to time, and so at its sockets. */
static void prepare_strange(struct scene *s)
{
	struct node *n;

	prepare_impatient(s);
	n = s->object;
	sink += (uint64_t)heapd_wait_fd(s->heap, (uint32_t *)&n->word[0], 0);
	name_elsewhere(s);
}

static bool is_lost(struct scene *s)
{
	/* Those that wait for a daemon's return wait no more. */
	return heapd_root_set(s->heap, "crash 0", NULL) < 0 && strstr(heapd_error(), "another one");
}

static void prepare_lost(struct scene *s)
{
	prepare_strange(s);
	s->weak = heapd_weak_new(s->heap, s->object);
	sockets_end();
	for (unsigned i = 0; !is_lost(s) && i < 100; i++)
		usleep(1000);
}

static void lost(struct scene *s)
{
	struct heapd_info info = HEAPD_SIZED(info);
	struct heapd_event event = HEAPD_SIZED(event);

	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", s->object);
	sink += (uint64_t)heapd_get_info(s->heap, &info);
	sink += (uint64_t)heapd_event_next(s->heap, &event);
	use(heapd_alloc(s->heap, 100000));
	sink += (uint64_t)heapd_collect(s->heap);
	sink += (uint64_t)heapd_sync(s->heap);
	for (unsigned i = 0; i < 64; i++)
		use(heapd_alloc(s->heap, 30000));
	for (unsigned i = 0; i < 64; i++)
		use(heapd_alloc_leaf(s->heap, 9000));
	heapd_detach(s->heap);
}

/* It is found out while a call waits. */
static void lost_meanwhile(struct scene *s)
{
	sockets_end();
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", s->object);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
}

static void ended_meanwhile(struct scene *s)
{
	sockets_end();
	while (!s->board->spin)
		__asm__ volatile("pause");
}

/* The child's first words are lost, and it finds another daemon. */
static void prepare_child_lost(struct scene *s)
{
	prepare_impatient(s);
	name_elsewhere(s);
	calls_meet(CALL_SEND, 2, sockets_end);
}

/* It is not let in at once, and its answer is not there at once. */
static void prepare_child_slow(struct scene *s)
{
	prepare_fields(s);
	calls_meet(CALL_SEND, 2, sockets_end);
	calls_fail(CALL_RECEIVE, 2, 2, EINTR);
	calls_fail(CALL_CONNECT, 1, 1, ECONNREFUSED);
}

/* Written -------------------------------------------------------------------------------------------------------------- */

static void written(struct scene *s)
{
	struct heapd_info info = HEAPD_SIZED(info);

	heapd_free(s->others[0]);
	heapd_free(s->others[0]);
	heapd_free((char *)s->others[1] + 3);
	sink += (uint64_t)heapd_get_info(s->heap, &info);
}

static void prepare_written_away(struct scene *s)
{
	prepare_writing(s);
	name_remove(s);
	sockets_end();
}

static void written_away(struct scene *s)
{
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", s->object);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
	for (unsigned i = 0; i < 64; i++)
		use(heapd_alloc(s->heap, 30000));
}

/* What the agent has left for a thread of the program's. */
static void prepare_written_report(struct scene *s)
{
	prepare_writing(s);
	for (int n = SIGRTMIN; n <= SIGRTMAX; n++)
		signal(n, SIG_IGN);
	heapd_collect_start(s->heap);
	usleep(30000);
}

const struct operation strangers[] = {
	OPERATION("lost", prepare_lost, lost, IN_MAIN, ONCE),
	OPERATION("lost-meanwhile", prepare_strange, lost_meanwhile, IN_MAIN, ONCE),
	OPERATION("lost-fork", prepare_lost, fork_and_wait, IN_MAIN, ONCE),
	OPERATION("child-lost", prepare_child_lost, child_allocates, IN_CHILD, ONCE),
	OPERATION("child-slow", prepare_child_slow, child_allocates, IN_CHILD, ONCE),
	{ .name = "agent-lost",
	  .prepare = prepare_strange,
	  .run = ended_meanwhile,
	  .where = IN_AGENT,
	  .barriers = ONCE,
	  .rounds = 12 },
	OPERATION("written", prepare_writing, written, IN_MAIN, ONCE),
	OPERATION("written-away", prepare_written_away, written_away, IN_MAIN, ONCE),
	OPERATION("written-report", prepare_written_report, written_away, IN_MAIN, ONCE),
	{ 0 },
};
