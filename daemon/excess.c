/* SPDX-License-Identifier: MIT */
/*
 * excess.c - owns when the memory of all sessions is measured, and ends those that hold what they were never given.
 *
 * A session's file is as long as the worst case (session.h), so its client can have the kernel fill gigabytes of it without a word
 * to us. Those pages are charged to the client's own control group, as any memory that it touches; but no process shows them
 * once they are not mapped, so it is we who have to see them. The kernel tells nobody, so we look; what can be had between two looks
 * is bounded by what the kernel fills in that time. So we look often, but never for more than a COST-th of our time, however many
 * sessions there are. All who are too many are ended at once: a user with many sessions has no more time than one with a single one.
 *
 * Right because a session ends by what was measured, and is measured anew after each end: each round has a session less.
 */
#include "excess.h"

#include <errno.h>

#include "clock.h"
#include "quota.h"

#define LOOK_NS UINT64_C(250000000)
#define COST    100u

/* Its process is killed if that may be done; if not, it is cut off, and its memory is its own. */
static bool end_one(struct connections *connections)
{
	struct session *session = quota_excess(connections->sessions);
	struct connection *c = session ? connection_of(connections, session) : NULL;

	if (!c)
		return false;
	log_limited(
		connections->log, &connections->cut, LOG_WARNING,
		"heap '%s': the memory of user %u's sessions has outgrown MaxBytesPerUser= and all that they "
		"were given; process %d, whose is the largest (%s), %s",
		session->heap->name, session->uid, session->pid, value_size_text(session->bytes).text,
		session->pid && peer_kill(&c->peer) == 0 ? "is ended (SIGKILL)" : "is cut off");
	connection_end(c, SESSION_DROPPED, "its memory has outgrown what its user may have");
	return true;
}

static int look_again_in(struct excess *excess, uint64_t ns)
{
	struct timeval time = { (time_t)(ns / 1000000000), (suseconds_t)(ns % 1000000000 / 1000) };

	return event_add(excess->timer, &time);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct excess *excess = arg;
	uint64_t begin = clock_ns(), took;

	(void)fd, (void)what;
	do
		quota_look(excess->connections->sessions);
	while (end_one(excess->connections));
	took = clock_ns() - begin;
	look_again_in(excess, took * COST > LOOK_NS ? took * COST : LOOK_NS);
}

int excess_start(struct excess *excess, struct connections *connections)
{
	*excess = (struct excess){ .connections = connections };
	excess->timer = evtimer_new(connections->base, on_timer, excess);
	return excess->timer && look_again_in(excess, LOOK_NS) == 0 ? 0 : -ENOMEM;
}

void excess_stop(struct excess *excess)
{
	if (excess->timer)
		event_free(excess->timer);
	excess->timer = NULL;
}
