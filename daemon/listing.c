/* SPDX-License-Identifier: MIT */
/*
 * listing.c - owns what one client is told of another.
 *
 * Right because it only reads, and tells nothing that the asking user could not have from /proc or from the heap:
 * operators learn of all sessions, others of their own user's. What a session holds is read from its file and not by
 * the mapping (clients.h), at most HEAPD_HELD_PAGE words for a message, so a session that claims to have a million
 * pins costs the main thread no more than any other. Its words are hints, handed on as such.
 */
#include "listing.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "clients.h"
#include "heapd/atomic.h"
#include "heapd/session.h"
#include "peer.h"
#include "quota.h"
#include "receipts.h"
#include "takers.h"

static bool may_know_of(const void *asking, uint32_t uid)
{
	const struct session *session = asking;

	return uid == session->uid || peer_is_operator(session->uid);
}

static bool may_know(const struct session *asking, const struct session *other)
{
	return other->heap == asking->heap && other->pid && may_know_of(asking, other->uid);
}

static const struct session *next_after(const struct session *asking, uint64_t id)
{
	const struct session *s, *next = NULL;

	LIST_FOREACH(s, &asking->sessions->all, link) {
		if (s->id > id && (!next || s->id < next->id) && may_know(asking, s))
			next = s;
	}
	return next;
}

static uint32_t at_most(uint32_t n, uint32_t most)
{
	return n < most ? n : most;
}

static void add_thread(struct heapd_session_info *info, const struct heapd_thread *thread)
{
	uint32_t state = HEAPD_READ_ONCE(thread->state);
	uint64_t longest = HEAPD_READ_ONCE(thread->pause_max_ns);

	if (state < HEAPD_THREAD_ONLINE || state > HEAPD_THREAD_SCANNING)
		return;
	info->threads++;
	info->offline += state != HEAPD_THREAD_ONLINE;
	info->pauses += HEAPD_READ_ONCE(thread->pauses);
	info->pause_ns += HEAPD_READ_ONCE(thread->pause_ns);
	info->wait_ns += HEAPD_READ_ONCE(thread->wait_ns);
	info->barrier_slow += HEAPD_READ_ONCE(thread->barrier_slow);
	if (info->pause_max_ns < longest)
		info->pause_max_ns = longest;
}

static struct client client_of(const struct session *s)
{
	return (struct client){
		.memory = s->memory.core,
		.fd = s->memory.fd,
		.room = s->heap->clients->records[s->index].room,
	};
}

void listing_session(const struct session *asking, struct heapd_session_info *info)
{
	const struct session *s = next_after(asking, info->id);
	const struct heapd_thread *threads;
	struct client client;
	uint32_t n;

	*info = (struct heapd_session_info){ 0 };
	if (!s)
		return;
	info->id = s->id;
	info->pid = (uint32_t)s->pid;
	info->uid = s->uid;
	info->read_only = s->read_only;
	client = client_of(s);
	info->pins = client_pins(&client);
	info->ranges = at_most(HEAPD_READ_ONCE(s->memory.core->nranges), HEAPD_RANGE_MAX);
	memcpy(info->client, s->client, sizeof(info->client));
	threads = client_threads(&client, &n);
	for (uint32_t i = 0; i < n; i++)
		add_thread(info, &threads[i]);
}

/* Of those that have processes there besides the asking one. */
static const struct session *next_user(const struct session *asking, uint64_t from)
{
	const struct session *s, *next = NULL;

	LIST_FOREACH(s, &asking->sessions->all, link)
		if (s != asking && s->uid >= from && (!next || s->uid < next->uid) && may_know(asking, s))
			next = s;
	return next;
}

static void count_sessions(const struct session *asking, struct heapd_user *user)
{
	const struct session *s;

	LIST_FOREACH(s, &asking->sessions->all, link)
		if (s != asking && s->uid == user->uid && may_know(asking, s)) {
			user->sessions++;
			user->readers += s->read_only;
		}
}

void listing_user(const struct session *asking, struct heapd_user *user)
{
	const struct session *s = next_user(asking, user->next);
	struct taken taken;

	if (!user->next) {
		takers_count(asking->heap);
		quota_look(asking->sessions);
	}
	*user = (struct heapd_user){ 0 };
	if (!s)
		return;
	taken = takers_taken(asking->heap, s->uid);
	*user = (struct heapd_user){
		.next = UINT64_C(1) + s->uid,
		.uid = s->uid,
		.full = taken.full,
		.waits = taken.waits,
		.bytes = taken.bytes,
		.share = taken.share,
		.most = taken.most,
		.session_bytes = s->user->bytes,
	};
	count_sessions(asking, user);
}

/* Where the words of a part stand in the session, and how many there are. */
struct part {
	uint64_t at, n;
};

static struct part part_of(const struct client *client, uint32_t part)
{
	const struct heapd_thread *threads;
	struct part p = { 0 };
	uint32_t n;

	if (part == 0)
		return (struct part){ HEAPD_SESSION_PIN_AT, client_pins(client) };
	if (part == 1) {
		p = (struct part){ HEAPD_SESSION_RANGES_AT, HEAPD_READ_ONCE(client->memory->ranges_count) };
		return p.n <= HEAPD_RANGES_BYTES / 8 ? p : (struct part){ 0 };
	}
	threads = client_threads(client, &n);
	if (part - 2 >= n)
		return p;
	p.at = HEAPD_SESSION_PUBLISHED_AT + (part - 2) * HEAPD_PUBLISHED_BYTES;
	p.n = HEAPD_READ_ONCE(threads[part - 2].published_count);
	return p.n <= HEAPD_PUBLISHED_BYTES / 8 ? p : (struct part){ 0 };
}

static const struct session *find(const struct session *asking, uint64_t id)
{
	const struct session *s = id ? next_after(asking, id - 1) : NULL;

	return s && s->id == id ? s : NULL;
}

int listing_held(const struct session *asking, struct heapd_held *held, struct refusal *why)
{
	const struct session *s = find(asking, held->session);
	uint64_t words[HEAPD_HELD_PAGE], from = held->next, n = 0;
	struct client client;
	struct part part;
	uint32_t threads;

	if (!s)
		return refuse(why, -ENOENT,
			      "there is no session %" PRIu64 " that user %u may look at; list them",
			      held->session, asking->uid);
	client = client_of(s);
	part = part_of(&client, held->part);
	client_threads(&client, &threads);
	held->parts = 2 + threads;
	held->count = 0;
	if (from < part.n)
		n = part.n - from < HEAPD_HELD_PAGE ? part.n - from : HEAPD_HELD_PAGE;
	if (n && client_read(&client, part.at + from * 8, words, n) < 0)
		n = 0;
	for (uint64_t i = 0; i < n; i++)
		if (words[i])
			held->words[held->count++] = words[i];
	held->next = n && from + n < part.n ? from + n : 0;
	return 0;
}

void listing_receipt(const struct session *asking, struct heapd_receipt *receipt)
{
	receipts_next(asking->heap, receipt, may_know_of, asking);
}
