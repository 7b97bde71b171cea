/* SPDX-License-Identifier: MIT */
/*
 * admission.c - owns the decision who may attach, and the sentence for who may not.
 *
 * Right because it asks the configuration with what the kernel said about the peer. The list of heaps
 * that a refusal gives has those that the peer may use, and no others.
 *
 * Where sessions, the room to store them, or memory for them are used up, who administers a heap can still look at it: a few
 * spare places are for processes of such users that only read. They cannot be taken by anybody else, and take nothing from
 * others: a spare session is not stored, so it ends with the daemon, which costs nothing but its own reading. Half of them
 * are for operators alone, or else the owner of one heap could keep these out.
 */
#include "admission.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quota.h"
#include "session.h"

#define SPARES 8u

static int check_fingerprint(const struct heapd_hello *hello, struct refusal *why)
{
	uint64_t ours = heapd_layout_fingerprint();

	if (hello->fingerprint == ours)
		return 0;
	return refuse(why, -EPROTO,
		      "the daemon's memory layout is %016" PRIx64 ", the library's %016" PRIx64
		      "; use the libheapd of the daemon's build",
		      ours, hello->fingerprint);
}

/* A heap that is not in the configuration any more takes nobody in. */
static enum config_access access_of(const struct heap *heap, const struct peer *peer)
{
	if (!heap->config)
		return CONFIG_ACCESS_NONE;
	return config_heap_access(heap->config, peer->uid, peer->groups, peer->ngroups);
}

static unsigned rights_of(const struct heap *heap, const struct peer *peer)
{
	return heap->config ? config_heap_rights(heap->config, peer->uid, peer->groups, peer->ngroups) : 0;
}

static void list_heaps(const struct sessions *sessions, const struct peer *peer, char *list, size_t size)
{
	size_t used = 0;

	list[0] = '\0';
	for (size_t i = 0; i < sessions->nheaps && used < size; i++) {
		const struct heap *heap = sessions->heaps[i];

		if (access_of(heap, peer) != CONFIG_ACCESS_NONE)
			used += (size_t)snprintf(list + used, size - used, "%s'%s'", used ? ", " : "",
						 heap->name);
	}
	if (used >= size)
		memcpy(list + size - sizeof("..."), "...", sizeof("..."));
}

void admission_list(const struct sessions *sessions, const struct peer *peer, struct heapd_heaps *heaps)
{
	size_t i = heaps->next;

	*heaps = (struct heapd_heaps){ 0 };
	for (; i < sessions->nheaps && heaps->count < HEAPD_HEAPS_PAGE; i++) {
		const struct heap *heap = sessions->heaps[i];

		if (access_of(heap, peer) != CONFIG_ACCESS_NONE)
			memcpy(heaps->names[heaps->count++], heap->name, sizeof(heaps->names[0]));
	}
	heaps->next = i < sessions->nheaps ? (uint32_t)i : 0;
}

static int refuse_unknown(const struct sessions *sessions, const struct peer *peer, const char *name,
			  struct refusal *why)
{
	char list[128];

	list_heaps(sessions, peer, list, sizeof(list));
	if (!list[0])
		return refuse(why, -ENOENT,
			      "there is no heap '%s', and user %u may use none of the others; see "
			      "AllowUsers= in heapd.conf",
			      name, peer->uid);
	return refuse(why, -ENOENT, "there is no heap '%s'; user %u may use %s", name, peer->uid, list);
}

static int check_access(const struct heap *heap, const struct peer *peer, bool read_only, struct refusal *why)
{
	enum config_access access = access_of(heap, peer);

	if (access == CONFIG_ACCESS_WRITE || (access == CONFIG_ACCESS_READ && read_only))
		return 0;
	if (!heap->config)
		return refuse(why, -EACCES,
			      "heap '%s' is not configured any more and takes nobody in; restart heapd, or "
			      "put [Heap %s] back and reload",
			      heap->name, heap->name);
	if (access == CONFIG_ACCESS_READ)
		return refuse(why, -EACCES,
			      "user %u may only read heap '%s'; attach read-only, or be added to AllowUsers= "
			      "of [Heap %s]",
			      peer->uid, heap->name, heap->name);
	return refuse(why, -EACCES,
		      "user %u may not use heap '%s'; be added to AllowUsers= or AllowGroups=, or be let in "
		      "by Owner=, Group= and Mode=, of [Heap %s] in heapd.conf",
		      peer->uid, heap->name, heap->name);
}

/* What makes each cycle longer, a reader cannot ask for. */
static uint32_t debug_of(const struct heapd_hello *hello)
{
	return hello->flags &
	       (hello->flags & HEAPD_HELLO_READ_ONLY ? HEAPD_HELLO_DANGLING : HEAPD_HELLO_DEBUG);
}

/* For the log, too: who is refused may be somebody else's trouble. */
static int tell_crowd(struct sessions *sessions, int r, const struct refusal *why)
{
	if (r == -EUSERS)
		log_limited(sessions->log, &sessions->crowded, LOG_WARNING, "refused: %s", why->text);
	return r;
}

static bool may_have_spare(const struct sessions *sessions, const struct session_owner *owner)
{
	unsigned most = peer_is_operator(owner->uid) ? SPARES : SPARES / 2;

	return owner->read_only && owner->administers && sessions->spares < most;
}

/* owner->room: the least that it needs; more is added to that, as far as its user has it. */
static int open_within(struct sessions *sessions, struct heap *heap, struct session_owner *owner,
		       struct session **session, struct refusal *why)
{
	struct session_owner spare = *owner;
	int r = quota_open(sessions, owner->uid, owner->room, why);

	if (r == 0)
		r = session_open(sessions, heap, owner, session, why);
	if ((r == -EUSERS || r == -ENOMEM) && may_have_spare(sessions, owner)) {
		spare.spare = true;
		r = session_open(sessions, heap, &spare, session, why);
	}
	if (r == 0)
		why->text[0] = '\0';
	return tell_crowd(sessions, r, why);
}

int admission_attach(struct sessions *sessions, const struct peer *peer, int socket,
		     const struct heapd_hello *hello, struct session **session, struct refusal *why)
{
	struct session_owner owner = {
		.pid = peer->pid,
		.pidfd = peer->pidfd,
		.socket = socket,
		.uid = peer->uid,
		.read_only = hello->flags & HEAPD_HELLO_READ_ONLY,
		.debug = debug_of(hello),
		.client = hello->client,
	};
	struct heap *heap;
	int r;

	r = check_fingerprint(hello, why);
	if (r == 0)
		r = refuse_name(why, "heap", hello->heap, sizeof(hello->heap));
	if (r < 0)
		return r;
	if (hello->flags & ~HEAPD_HELLO_KNOWN)
		return refuse(why, -EINVAL, "unknown flags 0x%x; use the libheapd of the daemon's build",
			      hello->flags & ~HEAPD_HELLO_KNOWN);
	heap = sessions_find_heap(sessions, hello->heap);
	if (!heap)
		return refuse_unknown(sessions, peer, hello->heap, why);
	r = check_access(heap, peer, owner.read_only, why);
	if (r < 0)
		return r;
	owner.administers = rights_of(heap, peer) & CONFIG_ADMINISTER;
	owner.room[HEAPD_ROOM_THREADS] = 1;
	return open_within(sessions, heap, &owner, session, why);
}

/* The child has all pins of its parent, and one of its threads, in the same place. */
int admission_fork(struct session *parent, const struct heapd_message *m, struct session **child,
		   struct refusal *why)
{
	struct session_owner owner = {
		.parent = parent->pid,
		.maker = parent->id,
		.maker_seq = m->seq,
		.pidfd = -1,
		.uid = parent->uid,
		.read_only = parent->read_only,
		.administers = parent->administers,
		.debug = parent->debug,
		.client = parent->client,
		.room = { [HEAPD_ROOM_THREADS] = m->room.least ? m->room.least : 1,
			  [HEAPD_ROOM_PINS] = parent->room[HEAPD_ROOM_PINS] },
	};

	if (m->room.least > parent->room[HEAPD_ROOM_THREADS])
		return refuse(
			why, -EINVAL,
			"a child's thread %u, where its parent has room for %u; ask for more room first",
			m->room.least, parent->room[HEAPD_ROOM_THREADS]);
	return open_within(parent->sessions, parent->heap, &owner, child, why);
}

int admission_room(struct session *session, struct heapd_room_request *asked, struct refusal *why)
{
	uint32_t room[2] = { session->room[0], session->room[1] };
	int r = quota_room(session, asked, room, why);

	if (r == 0)
		r = session_set_room(session, room, why);
	return tell_crowd(session->sessions, r, why);
}
