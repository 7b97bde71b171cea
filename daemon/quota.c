/* SPDX-License-Identifier: MIT */
/*
 * quota.c - owns how much of the daemon one user may have.
 *
 * Right because what counts is what was given: a session begins with room for a few threads and pins, asks for more, and
 * nobody looks at what its client writes beyond (clients.h). So the threads of a user, and what the daemon has to do for
 * them in each cycle, are bounded at any time, whatever it writes. How much memory a session's file holds is the kernel's word
 * besides: it counts where it is more than what was given makes sure, and once a user's sessions hold all that they may,
 * nothing more is given: no session, no thread, no pin, no longer barrier ring. What their clients may still touch then is
 * bounded, too, by what each thread has: its rings and the words of its stack. Who is found beyond that has gone round the
 * library, and is ended. A user who is over its share keeps what it has, and gets no more.
 *
 * Two bounds hold: a fixed one for each user, and its share of what there is, as in dbus-broker: where n users have
 * something, one of them may have an (n+1)-th part of what the others have left. So whoever comes finds something, and
 * the more users there are, the less each newcomer can take from the next; alone, a user is hardly bounded by it. A user's
 * first session is its own in any case, with one thread; and operators, who are to see what is wrong, have no shares. The spare
 * places that administrators have besides (admission.c) are not counted here: neither what there is nor what their user may have
 * becomes less by them.
 */
#include "quota.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "heapd/atomic.h"
#include "heapd/session.h"
#include "peer.h"
#include "session.h"

#define FIRST_THREADS 16u /* room that a session begins with, if its user has it */
#define FIRST_PINS    4096u
#define STACK_BYTES \
	(UINT64_C(1) << 20) /* of the words of a stack that are published, in the worst honest case */

struct usage {
	uint64_t sessions, threads, bytes;
};

struct census {
	struct usage all, mine;
	uint64_t users; /* that have something, this one included */
	bool shares;    /* the user is bounded by its share */
};

/* What of something a user may have more: by the fixed bound, and by its share. */
struct left {
	uint64_t fixed, share;
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t greatest(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t measure(const struct session *session)
{
	struct stat st;

	return fstat(session->memory.fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static uint64_t session_bytes(const struct session *session)
{
	return greatest(session->bytes, session_room_bytes(session->room));
}

static void usage_add(struct usage *usage, const struct session *session)
{
	usage->sessions++;
	usage->threads += session->room[HEAPD_ROOM_THREADS];
	usage->bytes += session_bytes(session);
}

static void census_take(struct census *census, const struct sessions *sessions, uid_t uid)
{
	struct session *session;

	*census = (struct census){ .users = sessions->nusers };
	LIST_FOREACH(session, &sessions->all, link) {
		if (session->spare)
			continue;
		if (session->uid == uid) {
			session->bytes = measure(session);
			usage_add(&census->mine, session);
		}
		usage_add(&census->all, session);
	}
	census->users += !census->mine.sessions;
	census->shares = census->mine.sessions && !peer_is_operator(uid);
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static struct left left_of(const struct census *census, uint64_t fixed, uint64_t whole, uint64_t all,
			   uint64_t mine)
{
	uint64_t share = minus(whole, all - mine) / (census->users + 1);

	return (struct left){
		.fixed = minus(fixed, mine),
		.share = census->shares ? minus(share, mine) : UINT64_MAX,
	};
}

/* There are threads and bytes for as many users as have room with all of their sessions. */
static uint64_t users_that_fit(const struct config *config)
{
	return config->max_sessions > config->max_sessions_per_uid
		       ? config->max_sessions / config->max_sessions_per_uid
		       : 1;
}

static struct left sessions_left(const struct config *config, const struct census *census)
{
	return left_of(census, config->max_sessions_per_uid, config->max_sessions, census->all.sessions,
		       census->mine.sessions);
}

static struct left threads_left(const struct config *config, const struct census *census)
{
	return left_of(census, config->max_threads_per_uid,
		       users_that_fit(config) * config->max_threads_per_uid, census->all.threads,
		       census->mine.threads);
}

static struct left bytes_left(const struct config *config, const struct census *census)
{
	return left_of(census, config->max_bytes_per_uid, users_that_fit(config) * config->max_bytes_per_uid,
		       census->all.bytes, census->mine.bytes);
}

static int refuse_share(struct refusal *why, const struct census *census, uid_t uid, const char *what,
			const char *option)
{
	return refuse(why, -EUSERS,
		      "%" PRIu64
		      " users share the daemon, and user %u has its share of %s; end some, or raise %s",
		      census->users, uid, what, option);
}

static int check_sessions(const struct config *config, const struct census *census, uid_t uid,
			  struct refusal *why)
{
	struct left left = sessions_left(config, census);

	if (!left.fixed)
		return refuse(why, -EUSERS,
			      "user %u has all of its %u sessions; end some, or raise MaxSessionsPerUser=",
			      uid, config->max_sessions_per_uid);
	return left.share ? 0 : refuse_share(why, census, uid, "sessions", "MaxSessions=");
}

static int check_threads(const struct config *config, const struct census *census, uid_t uid, uint64_t more,
			 struct refusal *why)
{
	struct left left = threads_left(config, census);

	if (left.fixed < more)
		return refuse(why, -EUSERS,
			      "the processes of user %u have room for %" PRIu64
			      " attached threads; end some of them, or raise MaxThreadsPerUser=%u",
			      uid, census->mine.threads, config->max_threads_per_uid);
	return left.share < more ? refuse_share(why, census, uid, "threads", "MaxThreadsPerUser=") : 0;
}

static int check_bytes(const struct config *config, const struct census *census, uid_t uid, uint64_t more,
		       struct refusal *why)
{
	struct left left = bytes_left(config, census);

	if (left.fixed < more)
		return refuse(why, -EUSERS,
			      "the sessions of user %u take %s; end some, or raise MaxBytesPerUser=%s", uid,
			      value_size_text(census->mine.bytes).text,
			      value_size_text(config->max_bytes_per_uid).text);
	return left.share < more ? refuse_share(why, census, uid, "memory for sessions", "MaxBytesPerUser=")
				 : 0;
}

static uint32_t threads_given(const struct config *config, const struct census *census, uint64_t wanted)
{
	struct left left = threads_left(config, census);

	return (uint32_t)least(wanted, least(left.fixed, left.share));
}

/* So many more of that size. */
static uint32_t bytes_given(const struct config *config, const struct census *census, uint64_t wanted,
			    uint64_t size)
{
	struct left left = bytes_left(config, census);

	return (uint32_t)least(wanted, least(left.fixed, left.share) / size);
}

/* Threads are more than the least if they can be had without asking for more than is left: the same for pins. */
int quota_open(const struct sessions *sessions, uid_t uid, uint32_t room[2], struct refusal *why)
{
	const struct config *config = sessions->config;
	struct census census;
	int r;

	if (sessions->count - sessions->spares >= config->max_sessions)
		return refuse(why, -EUSERS,
			      "the daemon has all of its %u sessions; end some, or raise MaxSessions=",
			      config->max_sessions);
	census_take(&census, sessions, uid);
	r = check_sessions(config, &census, uid, why);
	if (r == 0)
		r = check_threads(config, &census, uid, room[HEAPD_ROOM_THREADS], why);
	if (r == 0)
		r = check_bytes(config, &census, uid, session_room_bytes(room), why);
	if (r < 0)
		return r;
	census.shares = !peer_is_operator(uid);
	room[HEAPD_ROOM_THREADS] =
		(uint32_t)greatest(room[HEAPD_ROOM_THREADS], threads_given(config, &census, FIRST_THREADS));
	room[HEAPD_ROOM_PINS] = (uint32_t)greatest(
		room[HEAPD_ROOM_PINS], bytes_given(config, &census, FIRST_PINS, sizeof(uint64_t)));
	return 0;
}

static int more_threads(const struct config *config, const struct census *census, uid_t uid, uint32_t have,
			struct heapd_room_request *asked, struct refusal *why)
{
	int r = check_threads(config, census, uid, asked->least - have, why);

	if (r == 0)
		r = check_bytes(config, census, uid, (asked->least - have) * sizeof(struct heapd_thread),
				why);
	if (r < 0)
		return r;
	asked->room = have + threads_given(config, census, asked->wanted - have);
	return 0;
}

static int more_pins(const struct config *config, const struct census *census, uid_t uid, uint32_t have,
		     struct heapd_room_request *asked, struct refusal *why)
{
	int r = check_bytes(config, census, uid, (asked->least - have) * sizeof(uint64_t), why);

	if (r < 0)
		return r;
	asked->room = have + bytes_given(config, census, asked->wanted - have, sizeof(uint64_t));
	return 0;
}

int quota_room(const struct session *session, struct heapd_room_request *asked, uint32_t room[2],
	       struct refusal *why)
{
	static const uint32_t most[2] = { HEAPD_THREAD_MAX, HEAPD_PIN_MAX };
	const struct config *config = session->sessions->config;
	struct census census;
	uint32_t have;
	int r;

	if (asked->kind > HEAPD_ROOM_PINS || asked->least > most[asked->kind] ||
	    asked->wanted > most[asked->kind] || asked->wanted < asked->least)
		return refuse(why, -EINVAL, "room of kind %u for %u, or %u, cannot be; ask for what there is",
			      asked->kind, asked->least, asked->wanted);
	have = asked->room = room[asked->kind];
	if (asked->least <= have)
		return 0;
	census_take(&census, session->sessions, session->uid);
	r = asked->kind == HEAPD_ROOM_THREADS ? more_threads(config, &census, session->uid, have, asked, why)
					      : more_pins(config, &census, session->uid, have, asked, why);
	if (r == 0)
		room[asked->kind] = asked->room;
	return r;
}

/* What its sessions hold by measure, and what they may come to hold when nothing more is given to them. */
static void user_begin(struct session_user *user, const struct config *config)
{
	user->bytes = 0;
	user->most = config->max_bytes_per_uid;
}

static void user_add(struct session_user *user, const struct session *session)
{
	uint64_t ring = clients_ring(session->heap, session->index);

	user->bytes += session->bytes;
	user->most += session->room[HEAPD_ROOM_THREADS] * (8 * ring + STACK_BYTES);
}

void quota_look(struct sessions *sessions)
{
	struct session_user *user;
	struct session *session;

	LIST_FOREACH(user, &sessions->users, link)
		user_begin(user, sessions->config);
	LIST_FOREACH(session, &sessions->all, link) {
		session->bytes = measure(session);
		user_add(session->user, session);
	}
	LIST_FOREACH(session, &sessions->all, link)
		clients_set_full(session->heap, session->index,
				 session->user->bytes >= sessions->config->max_bytes_per_uid);
}

struct session *quota_excess(const struct sessions *sessions)
{
	struct session *session, *largest = NULL;

	LIST_FOREACH(session, &sessions->all, link)
		if (session->user->bytes > session->user->most &&
		    (!largest || session->bytes > largest->bytes))
			largest = session;
	return largest;
}
