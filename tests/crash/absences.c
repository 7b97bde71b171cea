/* SPDX-License-Identifier: MIT */
/*
 * absences.c - owns the operations of a client whose daemon is away: what it does meanwhile, how it finds it again, and that it does not.
 */
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "conditions.h"

static void requests(struct scene *s)
{
	struct heapd_info info = HEAPD_SIZED(info);
	struct heapd_event event = HEAPD_SIZED(event);

	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", s->object);
	use(heapd_alloc(s->heap, 100000));
	sink += (uint64_t)heapd_collect(s->heap);
	sink += (uint64_t)heapd_sync(s->heap);
	sink += (uint64_t)heapd_get_info(s->heap, &info);
	sink += (uint64_t)heapd_event_next(s->heap, &event);
	for (unsigned i = 0; i < 64; i++)
		use(heapd_alloc(s->heap, 30000));
}

static void away_detach(struct scene *s)
{
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", NULL);
	heapd_detach(s->heap);
}

/* The name is there: the agent finds the daemon while the request waits. */
static void prepare_back(struct scene *s)
{
	prepare_fields(s);
	sockets_end();
}

static void back(struct scene *s)
{
	for (unsigned i = 0; i < 4; i++) {
		void *seen = s->object;

		sink += (uint64_t)heapd_root_set(s->heap, "crash 0", s->object);
		sink += (uint64_t)heapd_root_cas(s->heap, "crash 0", &seen, NULL);
		use(heapd_alloc(s->heap, 100000));
		sockets_end();
	}
}

/* It goes in the midst of an exchange: whether it has heard what was asked, nobody knows. */
static void unanswered(struct scene *s)
{
	void *seen = s->object;

	calls_meet(CALL_RECEIVE, 1, sockets_end);
	sink += (uint64_t)heapd_root_set(s->heap, "crash 0", s->object);
	calls_meet(CALL_RECEIVE, 1, sockets_end);
	sink += (uint64_t)heapd_root_cas(s->heap, "crash 0", &seen, s->others[0]);
	calls_meet(CALL_RECEIVE, 1, sockets_end);
	use(heapd_alloc(s->heap, 100000));
}

static void prepare_fork_unanswered(struct scene *s)
{
	prepare_fields(s);
	calls_meet(CALL_RECEIVE, 1, sockets_end);
}

static void collect_back(struct scene *s)
{
	sink += (uint64_t)heapd_collect_start(s->heap);
	sockets_end();
	sink += (uint64_t)heapd_collect(s->heap);
}

/* While a cycle that is held up is waited for: the daemon has come back, or it has not. */
static struct scene *waiting;

static void end_for_good(void)
{
	name_remove(waiting);
	sockets_end();
}

static void collect_away(struct scene *s)
{
	waiting = s;
	calls_meet(CALL_SYSCALL, 1, end_for_good);
	sink += (uint64_t)heapd_collect(s->heap);
}

/* The one that is back is asked anew; it has the same cycle to wait for, and goes in its turn. */
#define WAITS 8u /* of 50 ms each, in which it comes back */

static void end_twice(void)
{
	sockets_end();
	calls_meet(CALL_SYSCALL, WAITS, end_for_good);
}

static void collect_anew(struct scene *s)
{
	waiting = s;
	calls_meet(CALL_SYSCALL, 1, end_twice);
	sink += (uint64_t)heapd_collect(s->heap);
}

/* The agent sees its sockets end, and connects again. */
static void ended_meanwhile(struct scene *s)
{
	sockets_end();
	while (!s->board->spin)
		__asm__ volatile("pause");
}

static void gone_meanwhile(struct scene *s)
{
	name_remove(s);
	ended_meanwhile(s);
}

/* It has been away for so long that the process was told so, and is back: that is told, too. */
static void back_meanwhile(struct scene *s)
{
	name_remove(s);
	sockets_end();
	scene_pass(UINT64_C(300000000));
	name_make(s);
	while (!s->board->spin)
		__asm__ volatile("pause");
}

static void prepare_told(struct scene *s)
{
	prepare_impatient(s);
	sink += (uint64_t)heapd_event_fd(s->heap);
}

/* fork() while it is away: with it back in time, and not. */
/* The child's first words are lost, and it finds the daemon by itself. */
static void prepare_child_back(struct scene *s)
{
	prepare_fields(s);
	calls_meet(CALL_SEND, 2, sockets_end);
}

const struct operation absences[] = {
	OPERATION("away", prepare_absent, requests, IN_MAIN, ONCE),
	OPERATION("away-detach", prepare_absent, away_detach, IN_MAIN, ONCE),
	CUT_OFF("away-back", prepare_back, back),
	OPERATION("away-unanswered", prepare_fields, unanswered, IN_MAIN, ONCE),
	OPERATION("collect-away", prepare_impatient, collect_away, IN_MAIN, 1u << BARRIER_ON),
	OPERATION("collect-anew", prepare_impatient, collect_anew, IN_MAIN, 1u << BARRIER_ON),
	OPERATION("away-collect", prepare_impatient, collect_back, IN_MAIN, ONCE),
	{ .name = "agent-back",
	  .prepare = prepare_told,
	  .run = ended_meanwhile,
	  .where = IN_AGENT,
	  .barriers = ONCE,
	  .rounds = 8 },
	{ .name = "agent-away",
	  .prepare = prepare_told,
	  .run = gone_meanwhile,
	  .where = IN_AGENT,
	  .barriers = ONCE,
	  .rounds = 12 },
	{ .name = "agent-returned",
	  .prepare = prepare_told,
	  .run = back_meanwhile,
	  .where = IN_AGENT,
	  .barriers = ONCE,
	  .rounds = 12 },
	OPERATION("fork-away", prepare_absent, fork_and_wait, IN_MAIN, ONCE),
	OPERATION("fork-back", prepare_back, fork_and_wait, IN_MAIN, ONCE),
	OPERATION("fork-unanswered", prepare_fork_unanswered, fork_and_wait, IN_MAIN, ONCE),
	OPERATION("child-back", prepare_child_back, child_allocates, IN_CHILD, ONCE),
	{ 0 },
};
