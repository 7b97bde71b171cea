/* SPDX-License-Identifier: MIT */
/*
 * arrival.c - owns who gets which session: who comes anew, who forks, whose child it is, and who comes back after a daemon's death.
 *
 * Right because a connection has a session only once all is well, and a session goes over from one connection to another in
 * one step: at no time do two connections end it, and none is left without one.
 */
#include "arrival.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admission.h"

static void refill_later(struct connections *connections)
{
	static const struct timeval soon = { .tv_usec = 1000 };

	if (sessionmemories_are_low(&connections->sessions->memories))
		event_add(connections->refill, &soon);
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

int arrival_hello(struct connection *c, struct heapd_message *m, struct enclosure *e, struct refusal *why)
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

int arrival_fork(struct connection *c, struct heapd_message *m, struct enclosure *e, struct refusal *why)
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

int arrival_child(struct connection *c, const struct ucred *credentials, struct refusal *why)
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
	r = connection_watch(c);
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
int arrival_again(struct connection *c, struct heapd_message *m, struct enclosure *e, struct refusal *why)
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
