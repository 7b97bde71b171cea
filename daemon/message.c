/* SPDX-License-Identifier: MIT */
/*
 * message.c - owns what each request means.
 *
 * Right because a request is a copy of ours that no client can change under us, each field is checked where it
 * is used, and a refused request has changed nothing. What a read-only session may not ask for is decided in
 * one place, the table.
 */
#include "message.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "collection.h"
#include "deads.h"
#include "listing.h"
#include "path.h"
#include "roots.h"
#include "samples.h"
#include "settings.h"
#include "supply.h"
#include "takers.h"
#include "types.h"
#include "verify.h"

#define LARGE_ALIGN_MAX (UINT64_C(2) << 20)

struct request {
	int (*answer)(struct session *session, struct heapd_message *m, struct refusal *why);
	bool writes; /* not for a read-only session */
	bool heavy;  /* goes through the whole heap */
};

static int answer_type(struct session *session, struct heapd_message *m, struct refusal *why)
{
	struct heapd_type_reply reply;
	int r;

	r = types_define(session->heap, &m->type, !session->read_only, &reply, why);
	if (r == 0)
		m->type_reply = reply;
	return r;
}

static int answer_class(struct session *session, struct heapd_message *m, struct refusal *why)
{
	return types_class(session->heap, &m->class, !session->read_only, &m->class.class, why);
}

static int check_large(const struct heap *heap, const struct heapd_large_request *large, struct refusal *why)
{
	const struct heapd_class *class = types_class_record(heap, large->class);

	if (!class || class->slot_size)
		return refuse(
			why, -EINVAL,
			"class %u of heap '%s' is not one of large objects; use the libheapd of the daemon's build",
			large->class, heap->name);
	if (!large->bytes)
		return refuse(why, -EINVAL, "an object of no bytes; ask for one at least");
	if (large->align > LARGE_ALIGN_MAX || large->align & (large->align - 1))
		return refuse(why, -EINVAL, "alignment %" PRIu64 "; use a power of two up to 2 MiB",
			      large->align);
	if (large->bytes > heap->geometry.size)
		return refuse(why, -ENOMEM,
			      "an object of %" PRIu64
			      " bytes, and heap '%s' has %s in all; allocate less, or raise Size=",
			      large->bytes, heap->name, value_size_text(heap->geometry.size).text);
	return 0;
}

static int answer_large(struct session *session, struct heapd_message *m, struct refusal *why)
{
	struct heapd_large_request *large = &m->large;
	struct heap *heap = session->heap;
	bool zeroed = false;
	struct taken taken;
	const char *option;
	uint64_t most;
	int r;

	r = check_large(heap, large, why);
	if (r < 0)
		return r;
	r = supply_large(heap, large->class, large->bytes, large->align ? large->align : 8, session->index,
			 &large->address, &zeroed);
	if (r == -ENOMEM) {
		option = heap_bound(heap, large->bytes, &most);
		return refuse(why, r,
			      "no room for %" PRIu64 " bytes: heap '%s' has committed %" PRIu64
			      " of the %" PRIu64 " that there may be; free some, or raise %s",
			      large->bytes, heap->name, HEAPD_READ_ONCE(heap->t.directory->stats.committed),
			      most, option);
	}
	if (r == -EDQUOT) {
		taken = takers_taken(heap, session->uid);
		return refuse(why, -ENOMEM,
			      "no room for %" PRIu64 " bytes: user %u has %" PRIu64
			      " of heap '%s', and others leave it no more than %" PRIu64
			      "; free some, or raise Limit=, or lower UserShare=",
			      large->bytes, session->uid, taken.bytes, heap->name, taken.most);
	}
	if (r < 0)
		return refuse(why, r, "heap '%s': no large object: %s; look at the daemon's log", heap->name,
			      strerror(-r));
	large->zeroed = zeroed;
	session->in_flight = true;
	return 0;
}

/* What the root holds now goes out with the reply, whatever the next request makes of the root. */
static int answer_root(struct session *session, struct heapd_message *m, struct refusal *why)
{
	int r = roots_change(session->heap, m->op, &m->root, why);

	if (r == 0 || r == -EAGAIN) {
		clients_hold(session->heap, session->index, m->root.object);
		session->in_flight = true;
	}
	return r;
}

static int answer_ticket_issue(struct session *session, struct heapd_message *m, struct refusal *why)
{
	return roots_ticket_issue(session->heap, &m->ticket, clock_ns(), why);
}

static int answer_ticket_take(struct session *session, struct heapd_message *m, struct refusal *why)
{
	int r = roots_ticket_take(session->heap, session->index, &m->ticket, clock_ns(), why);

	session->in_flight |= r == 0;
	return r;
}

static int answer_get(struct session *session, struct heapd_message *m, struct refusal *why)
{
	return settings_get(session, &m->setting, why);
}

static int answer_set(struct session *session, struct heapd_message *m, struct refusal *why)
{
	return settings_set(session, &m->setting, why);
}

static int answer_verify(struct session *session, struct heapd_message *m, struct refusal *why)
{
	struct heapd_verify_reply reply = { 0 };
	struct heap *heap = session->heap;
	struct journal_event event = { .id = EVENT_CORRUPTION, .heap = heap->name, .has_count = true };
	int r;

	if (!session->administers)
		return refuse(
			why, -EPERM,
			"heap '%s' is not verified for user %u; ask as root or the daemon's user, or be let administer "
			"it by Mode=",
			heap->name, session->uid);
	r = verify_heap(heap, &reply);
	if (r < 0)
		return refuse(
			why, r,
			"heap '%s' could not be verified: %s; give the daemon more memory, and try again",
			heap->name, strerror(-r));
	event.count = reply.faults;
	if (reply.faults)
		log_event(heap->log, &heap->faults, LOG_ERR, &event,
			  "heap '%s': %" PRIu64 " faults; the first: %s", heap->name, reply.faults,
			  reply.first);
	m->verify = reply;
	return 0;
}

/* In the midst of a cycle nothing is taken back: the reply says when to ask again. */
static int answer_sync(struct session *session, struct heapd_message *m, struct refusal *why)
{
	struct heap *heap = session->heap;

	(void)why;
	m->collect.finished = supply_sync(heap) < 0 ? HEAPD_READ_ONCE(heap->t.directory->cycle.finished) + 1
						    : 0;
	return 0;
}

static int refuse_off(const struct heap *heap, struct refusal *why)
{
	return refuse(why, -EOPNOTSUPP, "collection is off for heap '%s': set GCPercent= of [Heap %s]",
		      heap->name, heap->name);
}

static int answer_collect(struct session *session, struct heapd_message *m, struct refusal *why)
{
	struct heap *heap = session->heap;

	if (!collection_is_on(heap))
		return refuse_off(heap, why);
	m->collect.finished = collection_request(heap, TRIGGER_REQUEST);
	return 0;
}

static int answer_path(struct session *session, struct heapd_message *m, struct refusal *why)
{
	char path[sizeof(m->path)];
	uint64_t address = m->address;
	int r = path_to(session->heap, address, path, sizeof(path));

	if (r == -EINVAL)
		return refuse(why, r,
			      "0x%" PRIx64 " lies in no object of heap '%s'; give an address inside one",
			      address, session->heap->name);
	if (r == -ENOENT)
		return refuse(why, r,
			      "nothing keeps 0x%" PRIx64
			      " of heap '%s' alive but, perhaps, a stack or range that "
			      "no collection has looked at since; collect, and ask again",
			      address, session->heap->name);
	if (r < 0)
		return refuse(why, r, "heap '%s': no path: %s; try again", session->heap->name, strerror(-r));
	memcpy(m->path, path, sizeof(path));
	return 0;
}

static int answer_watch_dead(struct session *session, struct heapd_message *m, struct refusal *why)
{
	return deads_watch(session->heap, m->dead.type, why);
}

static int answer_next_dead(struct session *session, struct heapd_message *m, struct refusal *why)
{
	int r = deads_take(session->heap, session->index, m->dead.type, &m->dead.object, why);

	session->in_flight |= r == 0 && m->dead.object;
	return r;
}

static int answer_session(struct session *session, struct heapd_message *m, struct refusal *why)
{
	(void)why;
	listing_session(session, &m->session);
	return 0;
}

static int answer_held(struct session *session, struct heapd_message *m, struct refusal *why)
{
	return listing_held(session, &m->held, why);
}

static int answer_user(struct session *session, struct heapd_message *m, struct refusal *why)
{
	(void)why;
	listing_user(session, &m->user);
	return 0;
}

static int answer_watch_clients(struct session *session, struct heapd_message *m, struct refusal *why)
{
	(void)m, (void)why;
	clients_watch(session->heap, session->index);
	return 0;
}

static int answer_receipt(struct session *session, struct heapd_message *m, struct refusal *why)
{
	(void)why;
	listing_receipt(session, &m->receipt);
	return 0;
}

static int answer_sampled(struct session *session, struct heapd_message *m, struct refusal *why)
{
	if (!session->administers)
		return refuse(why, -EPERM,
			      "samples of heap '%s' are not kept for user %u; be let administer it by Mode=",
			      session->heap->name, session->uid);
	samples_mark(session->heap, &m->sampled);
	return 0;
}

static const struct request requests[HEAPD_OP_COUNT] = {
	[HEAPD_OP_TYPE] = { answer_type, false, false }, /* finding one is reading; types_define() is told */
	[HEAPD_OP_CLASS] = { answer_class, false, false },
	[HEAPD_OP_LARGE] = { answer_large, true, true }, /* when there is no room */
	[HEAPD_OP_ROOT_OFFER] = { answer_root, true, false },
	[HEAPD_OP_ROOT_SET] = { answer_root, true, false },
	[HEAPD_OP_ROOT_CAS] = { answer_root, true, false },
	[HEAPD_OP_TICKET_ISSUE] = { answer_ticket_issue, false, false },
	[HEAPD_OP_TICKET_TAKE] = { answer_ticket_take, false, false },
	[HEAPD_OP_GET] = { answer_get, false, false },
	[HEAPD_OP_SET] = { answer_set, false, false },
	[HEAPD_OP_VERIFY] = { answer_verify, false, true },
	[HEAPD_OP_SYNC] = { answer_sync, true, true },
	[HEAPD_OP_COLLECT] = { answer_collect, false, false },
	[HEAPD_OP_PATH] = { answer_path, false, true },
	[HEAPD_OP_SESSION] = { answer_session, false, false },
	[HEAPD_OP_USER] = { answer_user, false, true }, /* the first is counted */
	[HEAPD_OP_HELD] = { answer_held, false, false },
	[HEAPD_OP_WATCH_CLIENTS] = { answer_watch_clients, false, false },
	[HEAPD_OP_RECEIPT] = { answer_receipt, false, false },
	[HEAPD_OP_SAMPLED] = { answer_sampled, false, false },
	[HEAPD_OP_WATCH_DEAD] = { answer_watch_dead, true, false },
	[HEAPD_OP_NEXT_DEAD] = { answer_next_dead, true, false },
};

static struct ledger_session *record_of(const struct session *session)
{
	return &session->heap->clients->records[session->index];
}

/* It was obeyed, and its answer was lost with the last daemon: the object is held for it still. */
static bool is_obeyed(const struct session *session, const struct heapd_message *m)
{
	const struct ledger_session *record = record_of(session);

	return m->repeated && record->in_flight && record->in_flight_seq == m->seq;
}

/* Those that cannot be obeyed twice, or need not be. The object stays held. */
static bool answer_again(struct session *session, struct heapd_message *m)
{
	uint64_t object = record_of(session)->in_flight;
	struct refusal ignored;

	switch (m->op) {
	case HEAPD_OP_LARGE:
		m->large.address = object;
		m->large.zeroed = 0;
		return true;
	case HEAPD_OP_TICKET_TAKE:
		/* It may not have ended yet. */
		roots_ticket_take(session->heap, session->index, &m->ticket, clock_ns(), &ignored);
		m->ticket.object = object;
		return true;
	case HEAPD_OP_NEXT_DEAD:
		m->dead.object = object;
		return true;
	default:
		return false;
	}
}

/* Requests go one at a time: who sends the next has received the last one's reply, and given up on it at the least. */
static void message_arrived(struct session *session)
{
	if (!session->in_flight)
		return;
	clients_hold(session->heap, session->index, 0);
	session->in_flight = false;
}

bool message_is_heavy(uint32_t op)
{
	return op < HEAPD_OP_COUNT && requests[op].heavy;
}

int message_answer(struct session *session, struct heapd_message *m, struct refusal *why)
{
	const struct request *request = m->op < HEAPD_OP_COUNT ? &requests[m->op] : NULL;

	if (!request || !request->answer)
		return refuse(
			why, -EPROTO,
			"an attached process cannot ask for operation %u; use the libheapd of the daemon's build",
			m->op);
	if (request->writes && session->read_only)
		return refuse(why, -EROFS, "heap '%s' is attached read-only; attach it for writing",
			      session->heap->name);
	if (is_obeyed(session, m) && answer_again(session, m))
		return 0;
	message_arrived(session);
	HEAPD_STORE_RELEASE(&record_of(session)->in_flight_seq, m->seq);
	return request->answer(session, m, why);
}
