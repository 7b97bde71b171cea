/* SPDX-License-Identifier: MIT */
/*
 * sessions.c - owns the table of all sessions, and that of the users who have any.
 *
 * Right because the main thread alone looks at either, and a user stands in his table exactly as long as there is a
 * session of his, in the table or on its way there: both begin in sessions_make() and end in sessions_free().
 */
#include "sessions.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heapd/atomic.h"
#include "peer.h"

void sessions_init(struct sessions *sessions, struct log *log, const struct config *config,
		   struct store *store)
{
	*sessions = (struct sessions){
		.log = log,
		.config = config,
		.next_id = 1,
		.begun = { .what = "processes that attached", .burst = SESSIONS_LINES },
		.ended = { .what = "processes that detached", .burst = SESSIONS_LINES },
		.died = { .what = "processes that ended without a detach", .burst = SESSIONS_LINES },
		.crowded.what = "requests for more than a user may have",
	};
	sessionmemories_init(&sessions->memories, store);
	LIST_INIT(&sessions->all);
}

static struct session_user *user_take(struct sessions *sessions, uid_t uid)
{
	struct session_user *user;

	LIST_FOREACH(user, &sessions->users, link)
		if (user->uid == uid)
			break;
	if (!user) {
		user = calloc(1, sizeof(*user));
		if (!user)
			return NULL;
		user->uid = uid;
		LIST_INSERT_HEAD(&sessions->users, user, link);
		sessions->nusers++;
	}
	user->sessions++;
	return user;
}

struct session *sessions_make(struct sessions *sessions, struct heap *heap, const struct session_owner *owner)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	*session = (struct session){
		.sessions = sessions,
		.heap = heap,
		.memory.fd = -1,
		.notify = -1,
		.notify_client = -1,
		.id = sessions->next_id++,
		.pid = owner->pid,
		.parent = owner->parent,
		.maker = owner->maker,
		.maker_seq = owner->maker_seq,
		.mark = owner->pid && owner->pidfd >= 0 ? peer_mark(owner->pid, owner->pidfd) : 0,
		.uid = owner->uid,
		.read_only = owner->read_only,
		.administers = owner->administers,
		.spare = owner->spare,
		.debug = owner->debug,
		.room = { owner->room[0], owner->room[1] },
	};
	memcpy(session->client, owner->client, strnlen(owner->client, sizeof(session->client) - 1));
	session->user = user_take(sessions, owner->uid);
	if (session->user)
		return session;
	free(session);
	return NULL;
}

void sessions_free(struct session *session)
{
	struct session_user *user = session->user;

	if (--user->sessions == 0) {
		LIST_REMOVE(user, link);
		session->sessions->nusers--;
		free(user);
	}
	free(session);
}

void sessions_let_go(struct session *session)
{
	if (session->notify >= 0)
		close(session->notify);
	if (session->notify_client >= 0)
		close(session->notify_client);
	sessionmemory_release(&session->memory);
	sessions_free(session);
}

void sessions_add(struct session *session)
{
	struct sessions *sessions = session->sessions;

	LIST_INSERT_HEAD(&sessions->all, session, link);
	sessions->count++;
	sessions->spares += session->spare;
	HEAPD_COUNT(session->heap->t.directory->stats.sessions, 1);
}

void sessions_remove(struct session *session)
{
	struct sessions *sessions = session->sessions;
	struct heapd_stats *stats = &session->heap->t.directory->stats;

	LIST_REMOVE(session, link);
	sessions->count--;
	sessions->spares -= session->spare;
	HEAPD_WRITE_ONCE(stats->sessions, stats->sessions - 1);
}

void sessions_deinit(struct sessions *sessions)
{
	struct session *session;

	while ((session = LIST_FIRST(&sessions->all))) {
		LIST_REMOVE(session, link);
		sessions_let_go(session);
	}
	sessionmemories_deinit(&sessions->memories);
	log_limit_flush(sessions->log, &sessions->begun, LOG_INFO);
	log_limit_flush(sessions->log, &sessions->ended, LOG_INFO);
	log_limit_flush(sessions->log, &sessions->died, LOG_NOTICE);
	log_limit_flush(sessions->log, &sessions->crowded, LOG_WARNING);
}

struct heap *sessions_find_heap(const struct sessions *sessions, const char *name)
{
	for (size_t i = 0; i < sessions->nheaps; i++) {
		if (strcmp(sessions->heaps[i]->name, name) == 0)
			return sessions->heaps[i];
	}
	return NULL;
}

struct session *sessions_find(const struct sessions *sessions, uint64_t id)
{
	struct session *session;

	LIST_FOREACH(session, &sessions->all, link)
		if (session->id == id)
			break;
	return session;
}

struct session *sessions_find_child(const struct sessions *sessions, uint64_t maker, uint32_t seq)
{
	struct session *session;

	LIST_FOREACH(session, &sessions->all, link)
		if (!session->pid && session->maker == maker && session->maker_seq == seq)
			break;
	return session;
}
