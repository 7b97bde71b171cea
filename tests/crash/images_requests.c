/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing: requests, with what clients know of them before and after. What is refused is refused.
 */
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/deads.h"
#include "daemon/ledger.h"
#include "daemon/roots.h"
#include "daemon/settings.h"
#include "daemon/types.h"
#include "images_tape.h"
#include "images_work.h"

/* Sessions ----------------------------------------------------------------------------------------------------------- */

static struct session *open_session(struct work *work, struct session_owner owner)
{
	struct images_daemon *d = work->clients.d;
	struct session *session;
	struct refusal why;

	owner.pidfd = owner.socket = -1;
	owner.client = "images";
	owner.room[0] = CLIENTS_THREADS;
	owner.room[1] = WORLD_PINS + WORLD_CELLS;
	return session_open(&d->sessions, d->heap, &owner, &session, &why) < 0 ? NULL : session;
}

void request_attach(struct work *work)
{
	unsigned i = (unsigned)(work_draw(work) % WORLD_CLIENTS);

	if (work->clients.sessions[i])
		return;
	work->clients.sessions[i] =
		open_session(work, (struct session_owner){ .pid = getpid(),
							   .uid = (uid_t)(1000 + i % 3),
							   .administers = true,
							   .read_only = work_draw(work) % 16 == 0 });
	if (!work->clients.sessions[i])
		return;
	client_begin(&work->clients, i);
	TAPE_SET(work->clients.w->clients[i], work->clients.sessions[i]->id);
}

void request_fork(struct work *work)
{
	unsigned parent = work_somebody(work), i = (unsigned)(work_draw(work) % WORLD_CLIENTS);

	if (parent == WORLD_CLIENTS || work->clients.sessions[i])
		return;
	work->clients.sessions[i] =
		open_session(work, (struct session_owner){ .parent = getpid(),
							   .uid = work->clients.sessions[parent]->uid,
							   .maker = work->clients.sessions[parent]->id,
							   .maker_seq = (uint32_t)work_draw(work) % 100 });
	if (!work->clients.sessions[i])
		return;
	TAPE_SET(work->clients.w->unspoken[i], 1);
	TAPE_SET(work->clients.w->clients[i], work->clients.sessions[i]->id);
}

void request_leave_or_speak(struct work *work)
{
	unsigned i = (unsigned)(work_draw(work) % WORLD_CLIENTS);
	struct session *session = work->clients.sessions[i];

	if (!session)
		return;
	if (!session->pid && work_draw(work) % 2) {
		TAPE_SET(work->clients.w->unspoken[i], 2);
		session_claim(session, getpid(), -1, -1);
		client_begin(&work->clients, i);
		TAPE_SET(work->clients.w->unspoken[i], 0);
		return;
	}
	if (session->pid)
		client_end(&work->clients, i);
	TAPE_SET(work->clients.w->clients[i], 0);
	TAPE_SET(work->clients.w->unspoken[i], 0);
	work->clients.sessions[i] = NULL;
	session_close(session, work_draw(work) % 2 ? SESSION_DIED : SESSION_DETACHED, "the work's");
}

void request_room(struct work *work)
{
	unsigned i = work_somebody(work);
	struct refusal why;

	if (i == WORLD_CLIENTS)
		return;
	session_set_room(work->clients.sessions[i],
			 (uint32_t[]){ CLIENTS_THREADS + (uint32_t)work_draw(work) % 64,
				       WORLD_PINS + WORLD_CELLS + (uint32_t)work_draw(work) % 4096 },
			 &why);
}

void request_refill(struct work *work)
{
	sessionmemories_refill(&work->clients.d->sessions.memories);
}

/* Requests ----------------------------------------------------------------------------------------------------------- */

void request_root(struct work *work)
{
	struct world *w = work->clients.w;
	unsigned i = work_somebody(work), which = (unsigned)(work_draw(work) % WORLD_ROOTS);
	uint64_t object = i < WORLD_CLIENTS && work_draw(work) % 4 ? work_make_alone(work, i) : 0,
		 before = w->roots[which];
	struct heapd_root_request request = { .object = object, .expected = before, .type = HEAPD_TYPE_ANY };
	enum heapd_op op = before                ? work_draw(work) % 2 ? HEAPD_OP_ROOT_SET : HEAPD_OP_ROOT_CAS
			   : work_draw(work) % 2 ? HEAPD_OP_ROOT_OFFER
						 : HEAPD_OP_ROOT_SET;
	struct refusal why;

	world_root_name(which, request.name);
	TAPE_SET(w->asked, object);
	TAPE_SET(w->hands, 1);
	if (roots_change(work_heap_of(work), op, &request, &why) == 0) {
		TAPE_SET(w->roots[which], object);
		if (before)
			client_forget(&work->clients, before);
	} else if (object) {
		client_forget(&work->clients, object);
	}
	TAPE_SET(w->hands, 0);
}

static void ticket_keep(struct work *work, unsigned which, const struct heapd_ticket *ticket)
{
	struct world *w = work->clients.w;

	for (unsigned at = 0; at < sizeof(ticket->text); at += 8) {
		uint64_t word;

		memcpy(&word, ticket->text + at, 8);
		tape_store(w->tickets[which].text + at, word, 8);
	}
	TAPE_SET(w->tickets[which].object, ticket->object);
}

static void ticket_take(struct work *work, unsigned i, unsigned which)
{
	struct world *w = work->clients.w;
	struct heapd_ticket ticket = { 0 };
	uint64_t object = w->tickets[which].object;
	struct refusal why;

	memcpy(ticket.text, w->tickets[which].text, sizeof(ticket.text));
	TAPE_SET(w->tickets[which].object, 0);
	if (roots_ticket_take(work_heap_of(work), work->clients.sessions[i]->index, &ticket, clock_ns(),
			      &why) < 0) {
		client_forget(&work->clients, object);
		return;
	}
	client_link(&work->clients, i, 0, object);
	clients_hold(work_heap_of(work), work->clients.sessions[i]->index, 0);
}

void request_ticket(struct work *work)
{
	unsigned i = work_somebody(work), which = (unsigned)(work_draw(work) % WORLD_TICKETS);
	struct heapd_ticket ticket = { .seconds = 80000 };
	struct refusal why;

	if (i == WORLD_CLIENTS)
		return;
	if (work->clients.w->tickets[which].object) {
		ticket_take(work, i, which);
		return;
	}
	ticket.object = work_make_alone(work, i);
	if (!ticket.object)
		return;
	if (roots_ticket_issue(work_heap_of(work), &ticket, clock_ns(), &why) == 0)
		ticket_keep(work, which, &ticket);
	else
		client_forget(&work->clients, ticket.object);
}

void request_type(struct work *work)
{
	struct world *w = work->clients.w;
	unsigned which = (unsigned)(work_draw(work) % WORLD_TYPES);
	struct heapd_type_request request = { .size = 32 + 48 * which,
					      .align = 8,
					      .map_bits = 4 + 6 * which };
	struct heapd_class_request more = { .kind = HEAPD_KIND_ARRAY,
					    .sizeclass = (uint32_t)work_draw(work) % 40 };
	struct heapd_type_reply reply;
	struct refusal why;
	uint32_t class;

	snprintf(request.name, sizeof(request.name), "type%u", which);
	request.map[0] = 3;
	if (types_define(work_heap_of(work), &request, true, &reply, &why) < 0)
		return;
	TAPE_SET(w->classes[which], types_record(work_heap_of(work), reply.type)->fixed_class);
	TAPE_SET(w->types[which], reply.type);
	more.type = reply.type;
	types_class(work_heap_of(work), &more, true, &class, &why);
}

void request_dead(struct work *work)
{
	struct world *w = work->clients.w;
	unsigned i = work_somebody(work), which = (unsigned)(work_draw(work) % WORLD_TYPES);
	struct refusal why;
	uint64_t object;

	if (i == WORLD_CLIENTS || !w->types[which] || !work->collected)
		return;
	if (work_draw(work) % 4 == 0)
		deads_watch(work_heap_of(work), (uint32_t)w->types[which], &why);
	TAPE_SET(w->hands, 1);
	if (deads_take(work_heap_of(work), work->clients.sessions[i]->index, (uint32_t)w->types[which],
		       &object, &why) == 0 &&
	    object)
		work_received(work, i, 0, object);
	TAPE_SET(w->hands, 0);
}

void request_setting(struct work *work)
{
	static const struct heapd_setting settings[] = {
		{ "memory.limit", "20M" },   { "memory.limit", "32M" }, { "memory.limit", "44M" },
		{ "gc.percent", "50" },      { "gc.percent", "200" },   { "gc.interval", "60" },
		{ "sample.bytes", "65536" }, { "sample.bytes", "off" },
	};
	unsigned i = work_somebody(work);
	const struct heapd_setting *s = &settings[work_draw(work) % (sizeof(settings) / sizeof(settings[0]))];
	struct refusal why;

	if (i < WORLD_CLIENTS && (work->collected || strncmp(s->key, "gc.", 3) != 0))
		settings_set(work->clients.sessions[i], s, &why);
}
