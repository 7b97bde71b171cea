/* SPDX-License-Identifier: MIT */
/*
 * connection.c - owns the sockets of clients, and decides when a session has ended.
 *
 * Right because two signs end a session, whichever comes first, and each is enough: its process is gone (the
 * pidfd, which no other process can keep from telling, also when a child holds the socket open or nobody waits
 * for the dead), or its socket has ended. What a process sent before it died is answered first, so one that
 * detached and exited has detached. Functions below the callbacks never end a connection: they return < 0, and the
 * callback does.
 *
 * The one loop serves all heaps. So a request that goes through a whole heap makes the next such one of that
 * heap, whosever it is, wait in its socket for HEAVY_PAUSE times as long as it took itself.
 */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admission.h"
#include "clock.h"
#include "collection.h"
#include "message.h"
#include "peer.h"
#include "quota.h"
#include "version.h"
#include "wire.h"

#define HELLO_SECONDS  10  /* for a process to say what it wants */
#define UNATTACHED_MAX 64u /* connections of one user that have not said it */
#define BURST          16u /* messages of one client before others have their turn */
#define HEAVY_PAUSE    3u
#define CHILD_SECONDS  60    /* for a forked child of which nobody knows whether there is one */
#define LAST_WORDS     1024u /* messages of the dead: more than a socket can hold */

struct connection {
	struct connections *connections;
	int fd;
	struct peer peer; /* a forked child that has not spoken: its parent */
	bool child;       /* a forked child, expected to speak */
	struct session *session;
	struct event *readable;
	struct event *resume; /* NULL, or when it is read again */
	struct event *gone;   /* the peer's process is */
	LIST_ENTRY(connection) link;
};

/* Descriptors that go with a reply, and those of them that are closed once it was sent. */
struct enclosure {
	int fds[WIRE_FDS_MAX];
	size_t nfds;
	int close_fd;             /* -1: none */
	struct session *welcomed; /* whose welcome it is, or NULL */
};

static void event_drop(struct event **event)
{
	if (*event)
		event_free(*event);
	*event = NULL;
}

static void connection_free(struct connection *c)
{
	LIST_REMOVE(c, link);
	event_drop(&c->readable);
	event_drop(&c->resume);
	event_drop(&c->gone);
	peer_release(&c->peer);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

static void connection_end(struct connection *c, enum session_end end, const char *why)
{
	struct session *session = c->session;

	/* A child that was never born, or never spoke, has not died. */
	if (session)
		session_close(session, session->pid ? end : SESSION_DETACHED, why);
	connection_free(c);
}

static void refill_later(struct connections *connections)
{
	static const struct timeval soon = { .tv_usec = 1000 };

	if (sessionmemories_are_low(&connections->sessions->memories))
		event_add(connections->refill, &soon);
}

static void on_refill(evutil_socket_t fd, short what, void *arg)
{
	struct connections *connections = arg;

	(void)fd, (void)what;
	sessionmemories_refill(&connections->sessions->memories);
}

/*
 * Sessions of the same process that the last daemon had, and that nobody has connected to again: a process has one
 * attachment at a time, so it has given those up.
 */
static void end_left_behind(struct connections *connections, const struct connection *now)
{
	struct connection *next;

	for (struct connection *c = LIST_FIRST(&connections->all); c; c = next) {
		next = LIST_NEXT(c, link);
		if (c != now && c->fd < 0 && c->session && c->session->pid == now->peer.pid &&
		    HEAPD_READ_ONCE(c->session->memory.core->attached) != HEAPD_SESSION_ATTACHED)
			connection_end(c, SESSION_DETACHED, "it attached anew");
	}
}

static int answer_hello(struct connection *c, struct heapd_message *m, struct enclosure *e,
			struct refusal *why)
{
	struct connections *connections = c->connections;
	int r;

	if (c->session)
		return refuse(why, -EISCONN, "this socket is attached to heap '%s' already; open another",
			      c->session->heap->name);
	r = admission_attach(connections->sessions, &c->peer, c->fd, &m->hello, &c->session, why);
	if (r < 0)
		return r;
	event_remove_timer(c->readable); /* it has said hello */
	end_left_behind(connections, c);
	e->welcomed = c->session;
	e->nfds = session_welcome(c->session, &m->welcome, e->fds);
	refill_later(connections);
	return 0;
}

static struct connection *connection_new(struct connections *connections, int fd, struct peer *peer);

/* Who is at the other end of a child's socket is said by each message, since its maker is the parent. */
static int child_socket(int *ours, int *theirs)
{
	int pair[2], on = 1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	if (setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0) {
		int r = -errno;

		close(pair[0]);
		close(pair[1]);
		return r;
	}
	*ours = pair[0];
	*theirs = pair[1];
	return 0;
}

/* The connection on which the child will speak; takes the socket over. */
static int expect_child(struct connection *parent, struct session *session, int fd)
{
	struct peer peer = {
		.pid = parent->peer.pid,
		.uid = parent->peer.uid,
		.pidfd = fcntl(parent->peer.pidfd, F_DUPFD_CLOEXEC, 0),
	};
	int r = peer.pidfd < 0 ? -errno : -ENOMEM;
	struct connection *c = peer.pidfd < 0 ? NULL : connection_new(parent->connections, fd, &peer);

	if (!c) {
		close(fd);
		return r;
	}
	c->child = true;
	c->session = session;
	event_remove_timer(c->readable); /* a parent may take its time to fork */
	return 0;
}

static struct connection *connection_of(const struct connections *connections, const struct session *session)
{
	struct connection *c;

	LIST_FOREACH(c, &connections->all, link)
		if (c->session == session)
			break;
	return c;
}

/* The session goes on without the connection that it had, or that stood for it since we came up. */
static void forget_connection(const struct connections *connections, const struct session *session)
{
	struct connection *before = connection_of(connections, session);

	if (!before)
		return;
	before->session = NULL;
	connection_free(before);
}

/* A new one; or that which the last daemon made for this very request, before it died and the answer was lost. */
static int session_for_child(struct connection *c, const struct heapd_message *m, struct session **child,
			     struct refusal *why)
{
	struct session *made = m->repeated ? sessions_find_child(c->session->sessions, c->session->id, m->seq)
					   : NULL;
	int r;

	if (!made)
		return admission_fork(c->session, m, child, why);
	r = session_reconnect(made, -1, why);
	if (r < 0)
		return r;
	forget_connection(c->connections, made);
	*child = made;
	return 0;
}

static int answer_fork(struct connection *c, struct heapd_message *m, struct enclosure *e,
		       struct refusal *why)
{
	int ours = -1, theirs = -1, r;
	struct session *child;

	r = session_for_child(c, m, &child, why);
	if (r < 0)
		return r;
	r = child_socket(&ours, &theirs);
	if (r == 0)
		r = expect_child(c, child, ours);
	if (r < 0) {
		if (theirs >= 0)
			close(theirs);
		session_close(child, SESSION_DETACHED, "no socket");
		return refuse(
			why, r,
			"the daemon cannot make a socket for the child: %s; raise its limit of open files",
			strerror(-r));
	}
	session_welcome(child, &m->welcome, e->fds);
	e->fds[0] = e->close_fd = theirs;
	e->fds[1] = child->memory.fd;
	e->fds[2] = child->notify_client;
	e->nfds = 3;
	e->welcomed = child;
	refill_later(c->connections);
	return 0;
}

static void on_gone(evutil_socket_t fd, short what, void *arg);

/* A process that is gone by now is noticed at once: its pidfd is readable. */
static int watch_peer(struct connection *c)
{
	c->gone = event_new(c->connections->base, c->peer.pidfd, EV_READ, on_gone, c);
	return c->gone && event_add(c->gone, NULL) == 0 ? 0 : -ENOMEM;
}

static int answer_hello_child(struct connection *c, const struct ucred *credentials, struct refusal *why)
{
	struct peer child;
	int r;

	if (!c->child)
		return refuse(
			why, -EPROTO,
			"this socket is not that of a forked child, or it has spoken already; attach anew");
	r = peer_of_child(credentials, &c->peer, &child);
	if (r < 0)
		return refuse(why, r, "process %d is not a child of process %d and its user; attach anew",
			      credentials->pid, c->peer.pid);
	peer_release(&c->peer);
	c->peer = child;
	r = watch_peer(c);
	if (r < 0)
		return refuse(why, r, "the daemon is out of memory; give it more, or end some clients");
	c->child = false;
	session_claim(c->session, child.pid, child.pidfd, c->fd);
	return 0;
}

static int check_again(const struct connection *c, const struct session *session,
		       const struct heapd_again *again, struct refusal *why)
{
	if (again->fingerprint != heapd_layout_fingerprint())
		return refuse(
			why, -EPROTO,
			"the daemon's memory layout is not the library's any more; detach, and use the libheapd of its build");
	if (!session || session->heap->t.directory->id != again->heap_id)
		return refuse(
			why, -ESTALE,
			"the daemon does not know this session: its heap was made anew, or the session was "
			"ended; detach, and attach again");
	if (session->pid ? session->pid == c->peer.pid
			 : peer_is_child_of(&c->peer, session->parent, session->uid))
		return 0;
	return refuse(why, -EPERM, "session %" PRIu64 " is not that of process %d; detach, and attach again",
		      again->session, c->peer.pid);
}

/* The session goes over from the connection that it had, or from the one that has stood for it since we came up. */
static int answer_hello_again(struct connection *c, struct heapd_message *m, struct enclosure *e,
			      struct refusal *why)
{
	struct session *session = sessions_find(c->connections->sessions, m->again.session);
	int fds[5], r;

	if (c->session)
		return refuse(why, -EISCONN, "this socket is attached already; open another");
	r = check_again(c, session, &m->again, why);
	if (r == 0)
		r = session_reconnect(session, c->fd, why);
	if (r < 0)
		return r;
	forget_connection(c->connections, session);
	event_remove_timer(c->readable);
	c->session = session;
	session_claim(session, c->peer.pid, c->peer.pidfd, c->fd);
	session_welcome(session, &m->welcome, fds);
	e->fds[0] = session->notify_client;
	e->nfds = 1;
	e->welcomed = session;
	return 0;
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
		return answer_hello(c, m, e, why);
	if (m->op == HEAPD_OP_HELLO_AGAIN)
		return answer_hello_again(c, m, e, why);
	if (m->op == HEAPD_OP_HELLO_CHILD)
		return answer_hello_child(c, credentials, why);
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
		return answer_fork(c, m, e, why);
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
	uint64_t now = clock_ns();

	if (c->session && message_is_heavy(m->op) && !(m->op == HEAPD_OP_LARGE && m->status == 0))
		c->session->heap->heavy_until = now + HEAVY_PAUSE * (now - begin);
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
	uint64_t now = clock_ns();

	if (!c->session || now >= c->session->heap->heavy_until || !message_is_heavy(wire_peek_op(c->fd)))
		return false;
	return pause_reading(c, c->session->heap->heavy_until - now);
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
 * that is somebody else's by then. True: it is ended, and its session with it, when its process is gone.
 */
static bool still_writes(struct connection *c)
{
	struct session *session = c->session;
	int r;

	if (!session || !session->pid || session->read_only || !collection_is_on(session->heap) ||
	    !peer_maps(&c->peer, session->memory.fd))
		return false;
	r = peer_kill(&c->peer);
	log_limited(
		c->connections->log, &c->connections->cut, LOG_WARNING,
		"heap '%s': process %d closed its connection and still has the heap mapped: nobody can ask it what "
		"it holds, so it %s",
		session->heap->name, c->peer.pid, r < 0 ? "should be ended" : "is ended (SIGKILL)");
	if (r == 0)
		event_del(c->readable);
	return r == 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	int r = -ETIMEDOUT;

	(void)fd;
	if (what & EV_READ)
		r = read_some(c, BURST, false);
	if (r == -ECONNRESET && still_writes(c))
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

/* Takes over the peer, and the socket if it succeeds. */
static struct connection *connection_new(struct connections *connections, int fd, struct peer *peer)
{
	static const struct timeval hello = { .tv_sec = HELLO_SECONDS };
	struct connection *c = calloc(1, sizeof(*c));

	if (!c) {
		peer_release(peer);
		return NULL;
	}
	*c = (struct connection){ .connections = connections, .fd = fd, .peer = *peer };
	LIST_INSERT_HEAD(&connections->all, c, link);
	c->readable = event_new(connections->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	if (c->readable && event_add(c->readable, &hello) == 0)
		return c;
	c->fd = -1;
	connection_free(c);
	return NULL;
}

static void on_deserted(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;

	(void)fd, (void)what;
	connection_end(c, SESSION_DETACHED, "no child came for it");
}

/* Of a session that has nobody at the other end yet: it waits for its process's return, or its end. */
static struct connection *connection_without(struct connections *connections, struct session *session,
					     struct peer *peer)
{
	static const struct timeval patience = { .tv_sec = CHILD_SECONDS };
	struct connection *c = calloc(1, sizeof(*c));

	if (!c) {
		peer_release(peer);
		return NULL;
	}
	*c = (struct connection){ .connections = connections, .fd = -1, .peer = *peer, .session = session };
	LIST_INSERT_HEAD(&connections->all, c, link);
	if (session->pid) {
		if (watch_peer(c) == 0)
			return c;
	} else {
		c->resume = evtimer_new(connections->base, on_deserted, c);
		if (c->resume && event_add(c->resume, &patience) == 0)
			return c;
	}
	c->session = NULL;
	connection_free(c);
	return NULL;
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

/*
 * A session that takes what its user was never let have goes by the library no more. Its process is killed if that may be done;
 * if not, it is cut off, and its memory is its own.
 */
static void end_excess(struct connections *connections)
{
	struct session *session = quota_excess(connections->sessions);
	struct connection *c = session ? connection_of(connections, session) : NULL;

	if (!c)
		return;
	log_limited(
		connections->log, &connections->cut, LOG_WARNING,
		"heap '%s': the memory of user %u's sessions has outgrown MaxBytesPerUser= and all that they "
		"were given; process %d, whose is the largest (%s), %s",
		session->heap->name, session->uid, session->pid, value_size_text(session->bytes).text,
		session->pid && peer_kill(&c->peer) == 0 ? "is ended (SIGKILL)" : "is cut off");
	connection_end(c, SESSION_DROPPED, "its memory has outgrown what its user may have");
}

/* Who detached while no daemon was there has told nobody but its session's memory. */
void connections_look(struct connections *connections)
{
	struct connection *next;

	for (struct connection *c = LIST_FIRST(&connections->all); c; c = next) {
		next = LIST_NEXT(c, link);
		if (c->fd < 0 && c->session &&
		    HEAPD_READ_ONCE(c->session->memory.core->attached) == HEAPD_SESSION_LEFT)
			connection_end(c, SESSION_DETACHED, "it left while no daemon was there");
	}
	end_excess(connections);
}

static bool is_crowd(const struct connections *connections, uid_t uid)
{
	const struct connection *c;
	unsigned n = 0;

	LIST_FOREACH(c, &connections->all, link)
		n += !c->session && c->peer.uid == uid;
	return n >= UNATTACHED_MAX;
}

void connections_accept(struct connections *connections, int fd)
{
	struct connection *c = NULL;
	struct peer peer;

	if (peer_of_socket(fd, &peer) < 0) {
		close(fd); /* gone before anybody asked who it was */
		return;
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
	else if (watch_peer(c) < 0)
		connection_free(c);
}

int connections_init(struct connections *connections, struct event_base *base, struct sessions *sessions,
		     struct log *log)
{
	*connections = (struct connections){
		.base = base,
		.sessions = sessions,
		.log = log,
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
