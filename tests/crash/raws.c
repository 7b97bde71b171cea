/* SPDX-License-Identifier: MIT */
/*
 * raws.c - owns the chores that speak to the daemon without the library: what that says only to a daemon that came up after the
 * last one's death, and what only tools ask for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../fixture.h"
#include "chores.h"
#include "operations.h"

#define TYPES   40u /* the first ones of a heap */
#define NO_PART 5000u

struct raw {
	struct fixture daemon; /* only its socket's name */
	int fd;
	uint32_t seq;
};

static bool raw_begin(struct raw *raw, const char *heap)
{
	const char *name = getenv("HEAPD_SOCKET");
	struct heapd_message m;
	struct fixture_fds fds = { .n = 0 };

	*raw = (struct raw){ .seq = 100 };
	snprintf(raw->daemon.socket, sizeof(raw->daemon.socket), "%s", name ? name : "");
	raw->fd = fixture_attach(&raw->daemon, heap, 0, &m, &fds);
	return raw->fd >= 0;
}

/* What comes with the answer is kept: who closes it would hang up. */
static bool ask(struct raw *raw, struct heapd_message *m, enum heapd_op op)
{
	struct fixture_fds fds = { .n = 0 };

	m->op = op;
	m->seq = ++raw->seq;
	m->repeated = 0;
	return fixture_call(raw->fd, m, &fds) == 0 && m->status == 0;
}

/* As if the answer had not come. */
static void ask_again(struct raw *raw, const struct heapd_message *m, enum heapd_op op)
{
	struct heapd_message again = *m;

	again.op = op;
	again.seq = raw->seq;
	again.repeated = 1;
	sink += (uint64_t)fixture_call(raw->fd, &again, NULL);
}

/* Lists ------------------------------------------------------------------------------------------------------------ */

/* What each session holds, part after part. */
static void ask_held(struct raw *raw)
{
	struct heapd_message session = { 0 }, m;

	while (ask(raw, &session, HEAPD_OP_SESSION) && session.session.id)
		for (uint32_t part = 0; part < 5; part++) {
			m = (struct heapd_message){ .held = { .session = session.session.id,
							      .part = part < 4 ? part : NO_PART } };
			if (!ask(raw, &m, HEAPD_OP_HELD))
				break;
		}
}

static void ask_lists(struct raw *raw)
{
	struct heapd_message m = { 0 };

	while (ask(raw, &m, HEAPD_OP_HEAPS) && m.heaps.next)
		;
	m = (struct heapd_message){ 0 };
	while (ask(raw, &m, HEAPD_OP_USER) && m.user.next)
		;
	m = (struct heapd_message){ 0 };
	while (ask(raw, &m, HEAPD_OP_RECEIPT) && m.receipt.number)
		;
}

/* Somebody keeps samples: of these some are objects. */
static void ask_sampled(struct scene *s, struct raw *raw)
{
	struct heapd_message m = { .sampled = { .count = SCENE_NODES } };

	for (unsigned i = 0; i < SCENE_NODES; i++)
		m.sampled.objects[i] = i % 4 ? (uint64_t)(uintptr_t)heapd_load(&s->stage->node[i]) : i * 8;
	ask(raw, &m, HEAPD_OP_SAMPLED);
}

void raw_lists(struct scene *s)
{
	struct heapd_message m = { 0 };
	struct raw raw;

	/* In the one there are others, in the other one mostly nobody else. */
	if (!raw_begin(&raw, s->board->lies++ % 2 ? FIXTURE_HEAP : "tight"))
		return;
	ask(&raw, &m, HEAPD_OP_WATCH_CLIENTS);
	ask_held(&raw);
	ask_lists(&raw);
	ask_sampled(s, &raw);
	ask(&raw, &m, HEAPD_OP_COLLECT);
	for (unsigned i = 0; i < 20; i++)
		ask(&raw, &m, HEAPD_OP_SYNC);
}

/* Once more --------------------------------------------------------------------------------------------------------- */

static void again_large(struct raw *raw)
{
	struct heapd_message m = { .large = { .class = HEAPD_SIZECLASS_LARGE, .bytes = 100000 } },
			     request = m;

	if (ask(raw, &m, HEAPD_OP_LARGE))
		ask_again(raw, &request, HEAPD_OP_LARGE);
}

static void again_ticket(struct scene *s, struct raw *raw)
{
	struct heapd_message m = { 0 }, request;

	if (heapd_ticket_issue(s->heap, s->stage->node[3], m.ticket.text, sizeof(m.ticket.text), 5) < 0)
		return;
	request = m;
	if (ask(raw, &m, HEAPD_OP_TICKET_TAKE))
		ask_again(raw, &request, HEAPD_OP_TICKET_TAKE);
}

/* The child of the first answer, which never speaks, is the second's, too. */
static void again_fork(struct raw *raw)
{
	struct heapd_message m = { .room = { .kind = HEAPD_ROOM_THREADS, .least = 1 } }, request = m;

	if (ask(raw, &m, HEAPD_OP_FORK))
		ask_again(raw, &request, HEAPD_OP_FORK);
}

void raw_again(struct scene *s)
{
	struct raw raw;

	if (!raw_begin(&raw, FIXTURE_HEAP))
		return;
	again_large(&raw);
	again_ticket(s, &raw);
	again_fork(&raw);
}

/* Some die of a watched type, whose number is tried out. */
void raw_again_dead(struct scene *s)
{
	heapd_type *watched;
	struct raw raw;

	if (!chore_attach(s, CHORES_HEAP, 0, 0))
		return;
	watched = heapd_type_define(s->heap, "watched", struct node, next);
	if (!watched || heapd_type_watch_dead(watched) < 0)
		return;
	for (unsigned i = 0; i < 200; i++)
		use(heapd_new(watched, struct node));
	sink += (uint64_t)heapd_collect(s->heap);
	/* Not before: it answers nobody. */
	if (!raw_begin(&raw, CHORES_HEAP))
		return;
	for (uint32_t type = 0; type < TYPES; type++) {
		struct heapd_message m = { .dead = { .type = type } }, request = m;

		if (ask(&raw, &m, HEAPD_OP_NEXT_DEAD) && m.dead.object)
			ask_again(&raw, &request, HEAPD_OP_NEXT_DEAD);
	}
}
