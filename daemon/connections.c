/* SPDX-License-Identifier: MIT */
/*
 * connections.c - owns what is read from the sockets of clients, and decides when a session has ended.
 *
 * Right because two signs end a session, whichever comes first, and each is enough: its process is gone (the
 * pidfd, which no other process can keep from telling, also when a child holds the socket open or nobody waits
 * for the dead), or its socket has ended. What a process sent before it died is answered first, so one that
 * detached and exited has detached. Functions below the callbacks never end a connection: they return < 0, and the
 * callback does.
 *
 * The one loop serves all heaps. So a request that goes through a whole heap makes the next such one of that
 * heap, whosever it is, wait in its socket for HEAVY_PAUSE times as long as it took itself. A large object is of that kind only
 * where there is no room for it, and waits only for others like it: somebody else's verification is no reason. So each
 * of both has a quarter of the loop's time at most.
 */
#include "connections.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "admission.h"
#include "arrival.h"
#include "clock.h"
#include "collection.h"
#include "message.h"
#include "version.h"

#define UNATTACHED_MAX 64u /* connections of one user that have not attached */
#define BURST          16u /* messages of one client before others have their turn */
#define HEAVY_PAUSE    3u
#define LEFT_ALONE     "it left while no daemon was there"
#define LAST_WORDS     1024u /* messages of the dead: more than a socket can hold */

static void on_refill(evutil_socket_t fd, short what, void *arg)
{
	struct connections *connections = arg;

	(void)fd, (void)what;
	sessionmemories_refill(&connections->sessions->memories);
}

/* What was handed back is collected before the reply: who has it may rely on that. */
static int answer_bye(struct connection *c)
{
	session_close(c->session, SESSION_DETACHED, "it said so");
	c->session = NULL;
	return 0;
}

static int answer(struct connection *c, struct heapd_message *m, const struct ucred *credentials,
		  struct enclosure *e, struct refusal *why)
{
	if (m->op == HEAPD_OP_HELLO)
		return arrival_hello(c, m, e, why);
	if (m->op == HEAPD_OP_HELLO_AGAIN)
		return arrival_again(c, m, e, why);
	if (m->op == HEAPD_OP_HELLO_CHILD)
		return arrival_child(c, credentials, why);
	if (m->op == HEAPD_OP_HEAPS && !c->child) {
		admission_list(c->connections->sessions, &c->peer, &m->heaps);
		snprintf(why->text, sizeof(why->text), "%s", VERSION_TEXT); /* no refusal, but a text */
		return 0;
	}
	if (c->child)
		return refuse(why, -EPROTO, "a forked child has not said yet who it is; send HELLO_CHILD");
	if (!c->session)
		return refuse(why, -ENOTCONN, "not attached yet; send HELLO");
	if (m->op == HEAPD_OP_FORK)
		return arrival_fork(c, m, e, why);
	if (m->op == HEAPD_OP_ROOM)
		return admission_room(c->session, &m->room, why);
	if (m->op == HEAPD_OP_BYE)
		return answer_bye(c);
	return message_answer(c->session, m, why);
}

/* One that ended its socket gets no reply, but what it sent before counts. */
static int send_reply(struct connection *c, struct heapd_message *m, struct enclosure *e)
{
	int r = wire_send(c->fd, m, e->fds, e->nfds);

	if (e->close_fd >= 0)
		close(e->close_fd);
	if (e->welcomed)
		session_welcomed(e->welcomed);
	/* What a welcome finds in flight may lie in a socket of the last daemon's still: the next request says that it does not. */
	if (r == 0 && c->session && c->session->in_flight && !e->welcomed)
		clients_sent(c->session->heap, c->session->index);
	if (r == -EPIPE || r == -ECONNRESET)
		return 0;
	if (r < 0)
		log_limited(c->connections->log, &c->connections->deaf, LOG_WARNING,
			    "process %d of user %u cannot be answered, dropped: %s", c->peer.pid, c->peer.uid,
			    r == -EAGAIN ? "it does not read" : strerror(-r));
	return r;
}

/* A large object that there was room for cost no more than it has to. */
static void count_heavy(struct connection *c, const struct heapd_message *m, uint64_t begin)
{
	uint64_t now = clock_ns(), until = now + HEAVY_PAUSE * (now - begin);
	bool large = m->op == HEAPD_OP_LARGE;

	if (!c->session || !message_is_heavy(m->op) || (large && m->status == 0))
		return;
	if (large)
		c->session->heap->large_until = until;
	if (until > c->session->heap->heavy_until)
		c->session->heap->heavy_until = until;
}

/* < 0: the connection is to end. */
static int serve(struct connection *c, struct heapd_message *m, const struct ucred *credentials)
{
	struct enclosure e = { .close_fd = -1 };
	struct refusal why = { 0 };
	bool bye = c->session && m->op == HEAPD_OP_BYE;
	uint64_t begin = clock_ns();
	int r;

	m->status = answer(c, m, credentials, &e, &why);
	count_heavy(c, m, begin);
	memcpy(m->text, why.text, sizeof(m->text));
	r = send_reply(c, m, &e);
	if (r == 0 && c->child && m->status < 0)
		r = -EPROTO; /* whoever this is, it is not the child */
	return r == 0 && bye ? -ESHUTDOWN : r;
}

static void log_malformed(struct connection *c)
{
	log_limited(c->connections->log, &c->connections->malformed, LOG_WARNING,
		    "process %d of user %u sent something that is not a message, dropped", c->peer.pid,
		    c->peer.uid);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;

	(void)fd, (void)what;
	event_add(c->readable, NULL);
}

/* Nothing is read from it for that long. */
static bool pause_reading(struct connection *c, uint64_t ns)
{
	struct timeval time = { (time_t)(ns / 1000000000), (suseconds_t)(ns % 1000000000 / 1000) };

	if (!c->resume)
		c->resume = evtimer_new(c->connections->base, on_resume, c);
	if (!c->resume || event_add(c->resume, &time) < 0)
		return false;
	event_del(c->readable);
	return true;
}

static bool has_to_wait(struct connection *c)
{
	uint64_t now = clock_ns(), until;
	uint32_t op;

	if (!c->session || now >= c->session->heap->heavy_until)
		return false;
	op = wire_peek_op(c->fd);
	until = op == HEAPD_OP_LARGE ? c->session->heap->large_until : c->session->heap->heavy_until;
	return message_is_heavy(op) && now < until && pause_reading(c, until - now);
}

/*
 * 0: nothing is left, or it is left for later; < 0: the connection is to end. Of what the dead asked for only what
 * changes something matters.
 */
static int read_some(struct connection *c, unsigned count, bool dead)
{
	struct heapd_message m;
	struct ucred credentials = { 0 };

	while (count--) {
		if (!dead && has_to_wait(c))
			return 0;
		int r = wire_receive(c->fd, &m, c->child ? &credentials : NULL);

		if (r == -EAGAIN)
			return 0;
		if (r == -EPROTO)
			log_malformed(c);
		if (r <= 0)
			return r ? r : -ECONNRESET;
		if (dead && message_is_heavy(m.op))
			continue;
		r = serve(c, &m, &credentials);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * A process that closed its socket and lives on has replaced its program (exec), or closed all descriptors it had. In
 * the second case it still has the heap and goes on storing, where nobody scans it: it must not write into memory
 * that is somebody else's by then. The same holds for who does not read what it is answered, or sends what is no message: it loses
 * its connection. True: it is ended, and its session with it, when its process is gone.
 */
static bool still_writes(struct connection *c, const char *what)
{
	struct session *session = c->session;
	int r;

	if (!session || !session->pid || session->read_only || !collection_is_on(session->heap) ||
	    !peer_maps(&c->peer, session->memory.fd))
		return false;
	r = peer_kill(&c->peer);
	log_limited(
		c->connections->log, &c->connections->cut, LOG_WARNING,
		"heap '%s': process %d %s its connection and still has the heap mapped: nobody can ask it what "
		"it holds, so it %s",
		session->heap->name, c->peer.pid, what, r < 0 ? "should be ended" : "is ended (SIGKILL)");
	if (r == 0)
		event_del(c->readable);
	return r == 0;
}

/*
 * Who detaches while no daemon is there says so in its session's memory. It may have been connecting again just then: its greeting
 * lies in the new socket, which it has closed, and its mappings go a moment later.
 */
static bool has_left(const struct connection *c)
{
	return c->session && HEAPD_READ_ONCE(c->session->memory.core->attached) == HEAPD_SESSION_LEFT;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	int r = -ETIMEDOUT;

	(void)fd;
	if (what & EV_READ)
		r = read_some(c, BURST, false);
	if (r == -ECONNRESET && has_left(c)) {
		connection_end(c, SESSION_DETACHED, LEFT_ALONE);
		return;
	}
	if (r < 0 && still_writes(c, r == -ECONNRESET ? "closed" : "has lost"))
		return;
	if (r == -ECONNRESET)
		connection_end(c, SESSION_DIED, "its socket has ended");
	else if (r < 0)
		connection_end(c, SESSION_DROPPED, strerror(-r));
}

static void on_gone(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;

	(void)fd, (void)what;
	read_some(c, LAST_WORDS, true);
	connection_end(c, SESSION_DIED, "its process is gone");
}

/* A forked child that has not spoken is expected for a while: whether it was born, nobody can say. */
static int peer_of_session(const struct session *session, struct peer *peer)
{
	const struct ledger_session *record = &session->heap->clients->records[session->index];

	*peer = (struct peer){ .pid = session->parent, .uid = session->uid, .pidfd = -1 };
	return session->pid ? peer_of_record(session->pid, record->mark, session->uid, peer) : 0;
}

bool connections_expect(struct connections *connections, struct session *session)
{
	struct peer peer;

	if (peer_of_session(session, &peer) < 0) {
		session_close(session, SESSION_DIED, "its process ended while no daemon was there");
		return false;
	}
	if (session->pid)
		clients_name(session->heap, session->index, session->pid, peer.pidfd, -1);
	if (!connection_without(connections, session, &peer))
		log_err(connections->log, "process %d cannot be watched: out of memory", session->pid);
	return true;
}

/* Who detached while no daemon was there has told nobody but its session's memory. */
void connections_look(struct connections *connections)
{
	struct connection *next;

	for (struct connection *c = LIST_FIRST(&connections->all); c; c = next) {
		next = LIST_NEXT(c, link);
		if (c->fd < 0 && has_left(c))
			connection_end(c, SESSION_DETACHED, LEFT_ALONE);
	}
}

static bool is_crowd(const struct connections *connections, uid_t uid)
{
	const struct connection *c;
	unsigned n = 0;

	LIST_FOREACH(c, &connections->all, link)
		n += !c->session && c->peer.uid == uid;
	return n >= UNATTACHED_MAX;
}

int connections_accept(struct connections *connections, int fd)
{
	struct connection *c = NULL;
	struct peer peer;
	int r = peer_of_socket(fd, &peer);

	if (r < 0) {
		close(fd); /* gone before anybody asked who it was, or nobody can ask */
		return r;
	}
	if (is_crowd(connections, peer.uid)) {
		log_limited(
			connections->log, &connections->crowd, LOG_WARNING,
			"user %u has %u connections that have not attached; one more is refused (process %d)",
			peer.uid, UNATTACHED_MAX, peer.pid);
		peer_release(&peer);
	} else {
		c = connection_new(connections, fd, &peer);
	}
	if (!c)
		close(fd);
	else if (connection_watch(c) < 0)
		connection_free(c);
	return 0;
}

int connections_init(struct connections *connections, struct event_base *base, struct sessions *sessions,
		     struct log *log)
{
	*connections = (struct connections){
		.base = base,
		.sessions = sessions,
		.log = log,
		.readable = on_readable,
		.gone = on_gone,
		.malformed.what = "malformed messages",
		.deaf.what = "clients that cannot be answered",
		.crowd.what = "connections that do not attach",
		.cut.what = "processes that are cut off",
	};
	LIST_INIT(&connections->all);
	connections->refill = evtimer_new(base, on_refill, connections);
	return connections->refill ? 0 : -ENOMEM;
}

void connections_deinit(struct connections *connections)
{
	struct connection *next;

	for (struct connection *c = LIST_FIRST(&connections->all); c; c = next) {
		next = LIST_NEXT(c, link);
		if (connections->sessions->memories.store->kept)
			connection_free(c);
		else
			connection_end(c, SESSION_DROPPED, "the daemon ends");
	}
	event_drop(&connections->refill);
	log_limit_flush(connections->log, &connections->malformed, LOG_WARNING);
	log_limit_flush(connections->log, &connections->deaf, LOG_WARNING);
	log_limit_flush(connections->log, &connections->crowd, LOG_WARNING);
	log_limit_flush(connections->log, &connections->cut, LOG_WARNING);
}
