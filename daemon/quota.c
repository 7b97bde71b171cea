/* SPDX-License-Identifier: MIT */
/*
 * quota.c - owns how much of the daemon one user may have.
 *
 * Right because it is asked before each new session, by attaching and by fork alike, and because the figures are
 * bounded by what the daemon itself knows: a session has room for so many threads, whatever its client writes, and
 * how much memory a session's file holds is the kernel's word. A user who is over its share keeps what it has, and gets
 * no more: nobody who is attached is ended for it.
 *
 * Two bounds hold: a fixed one for each user, and its share of what there is, as in dbus-broker: where n users have
 * something, one of them may have an (n+1)-th part of what the others have left. So whoever comes finds something, and
 * the more users there are, the less each newcomer can take from the next; alone, a user is hardly bounded by it. A user's
 * first session is its own in any case, and operators, who are to see what is wrong, have no shares.
 */
#include "quota.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "heapd/atomic.h"
#include "heapd/session.h"
#include "peer.h"

struct usage {
	uint64_t sessions, threads, bytes;
};

struct census {
	struct usage all, mine;
	uint64_t users; /* that have something, this one included */
};

/* Written by the client: as good as what it says, up to what fits. */
static unsigned threads_of(const struct session *session)
{
	uint32_t n = HEAPD_READ_ONCE(session->memory.core->nthreads);

	return n < HEAPD_THREAD_MAX ? n : HEAPD_THREAD_MAX;
}

static uint64_t bytes_of(const struct session *session)
{
	struct stat st;

	return fstat(session->memory.fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static void usage_add(struct usage *usage, const struct session *session)
{
	usage->sessions++;
	usage->threads += threads_of(session);
	usage->bytes += session->bytes;
}

static void census_take(struct census *census, const struct sessions *sessions, uid_t uid)
{
	struct session *session;

	*census = (struct census){ .users = sessions->nusers };
	LIST_FOREACH(session, &sessions->all, link) {
		if (session->uid == uid) {
			session->bytes = bytes_of(session);
			usage_add(&census->mine, session);
		}
		usage_add(&census->all, session);
	}
	census->users += !census->mine.sessions;
}

void quota_look(struct sessions *sessions)
{
	struct session *session;

	LIST_FOREACH(session, &sessions->all, link)
		session->bytes = bytes_of(session);
}

static int check_fixed(const struct config *config, const struct usage *mine, uid_t uid, struct refusal *why)
{
	if (mine->sessions >= config->max_sessions_per_uid)
		return refuse(why, -EUSERS,
			      "user %u has all of its %u sessions; end some, or raise MaxSessionsPerUser=",
			      uid, config->max_sessions_per_uid);
	if (mine->threads >= config->max_threads_per_uid)
		return refuse(why, -EUSERS,
			      "user %u has %" PRIu64
			      " attached threads; end some, or raise MaxThreadsPerUser=%u",
			      uid, mine->threads, config->max_threads_per_uid);
	if (mine->bytes >= config->max_bytes_per_uid)
		return refuse(why, -EUSERS,
			      "the sessions of user %u take %s; end some, or raise MaxBytesPerUser=%s", uid,
			      value_size_text(mine->bytes).text,
			      value_size_text(config->max_bytes_per_uid).text);
	return 0;
}

/* Whether the user would have more than its share of `whole` with so much `more`. */
static bool is_over(uint64_t whole, uint64_t all, uint64_t mine, uint64_t more, uint64_t users)
{
	uint64_t others = all - mine, left = whole > others ? whole - others : 0;

	return mine + more > left / (users + 1);
}

static int refuse_share(struct refusal *why, const struct census *census, uid_t uid, const char *what,
			const char *option)
{
	return refuse(why, -EUSERS,
		      "%" PRIu64
		      " users share the daemon, and user %u has its share of %s; end some, or raise %s",
		      census->users, uid, what, option);
}

/* There are threads and bytes for as many users as have room with all of their sessions. */
static int check_share(const struct config *config, const struct census *census, uid_t uid,
		       struct refusal *why)
{
	uint64_t fit = config->max_sessions > config->max_sessions_per_uid
			       ? config->max_sessions / config->max_sessions_per_uid
			       : 1;
	const struct usage *all = &census->all, *mine = &census->mine;

	if (!mine->sessions || peer_is_operator(uid))
		return 0;
	if (is_over(config->max_sessions, all->sessions, mine->sessions, 1, census->users))
		return refuse_share(why, census, uid, "sessions", "MaxSessions=");
	if (is_over(fit * config->max_threads_per_uid, all->threads, mine->threads, 0, census->users))
		return refuse_share(why, census, uid, "threads", "MaxThreadsPerUser=");
	if (is_over(fit * config->max_bytes_per_uid, all->bytes, mine->bytes, 0, census->users))
		return refuse_share(why, census, uid, "memory for sessions", "MaxBytesPerUser=");
	return 0;
}

int quota_check(const struct sessions *sessions, uid_t uid, struct refusal *why)
{
	const struct config *config = sessions->config;
	struct census census;
	int r;

	if (sessions->count >= config->max_sessions)
		return refuse(why, -EUSERS,
			      "the daemon has all of its %u sessions; end some, or raise MaxSessions=",
			      config->max_sessions);
	census_take(&census, sessions, uid);
	r = check_fixed(config, &census.mine, uid, why);
	return r < 0 ? r : check_share(config, &census, uid, why);
}
