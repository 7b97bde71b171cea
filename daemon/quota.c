/* SPDX-License-Identifier: MIT */
/*
 * quota.c - owns how much of the daemon one user may have.
 *
 * Right because it is asked before each new session, by attaching and by fork alike, and because the figures are
 * bounded by what the daemon itself knows: a session has room for so many threads, whatever its client writes, and
 * how much memory a session's file holds is the kernel's word. A user who is over its share keeps what it has, and gets
 * no more: nobody who is attached is ended for it.
 */
#include "quota.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "heapd/atomic.h"
#include "heapd/session.h"

struct usage {
	unsigned sessions, threads;
	uint64_t bytes;
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

static struct usage usage_of(const struct sessions *sessions, uid_t uid)
{
	const struct session *session;
	struct usage usage = { 0 };

	LIST_FOREACH(session, &sessions->all, link) {
		if (session->uid != uid)
			continue;
		usage.sessions++;
		usage.threads += threads_of(session);
		usage.bytes += bytes_of(session);
	}
	return usage;
}

int quota_check(const struct sessions *sessions, uid_t uid, struct refusal *why)
{
	const struct config *config = sessions->config;
	struct usage usage;

	if (sessions->count >= config->max_sessions)
		return refuse(why, -EUSERS,
			      "the daemon has all of its %u sessions; end some, or raise MaxSessions=",
			      config->max_sessions);
	usage = usage_of(sessions, uid);
	if (usage.sessions >= config->max_sessions_per_uid)
		return refuse(why, -EUSERS,
			      "user %u has all of its %u sessions; end some, or raise MaxSessionsPerUser=",
			      uid, config->max_sessions_per_uid);
	if (usage.threads >= config->max_threads_per_uid)
		return refuse(why, -EUSERS,
			      "user %u has %u attached threads; end some, or raise MaxThreadsPerUser=%u", uid,
			      usage.threads, config->max_threads_per_uid);
	if (usage.bytes >= config->max_bytes_per_uid)
		return refuse(why, -EUSERS,
			      "the sessions of user %u take %s; end some, or raise MaxBytesPerUser=%s", uid,
			      value_size_text(usage.bytes).text,
			      value_size_text(config->max_bytes_per_uid).text);
	return 0;
}
