/* SPDX-License-Identifier: MIT */
/*
 * connection.c - owns the making and the end of connections: a socket, its events, and the process that was at its other end
 * when it was made.
 *
 * Right because whatever a connection has hangs on it, and is let go of in one place. What its events mean is for others to say
 * (connections.c).
 */
#include "connection.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define HELLO_SECONDS 10 /* for a process to say what it wants */

void event_drop(struct event **event)
{
	if (*event)
		event_free(*event);
	*event = NULL;
}

void connection_free(struct connection *c)
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

void connection_end(struct connection *c, enum session_end end, const char *why)
{
	struct session *session = c->session;

	/* A child that was never born, or never spoke, has not died. */
	if (session)
		session_close(session, session->pid ? end : SESSION_DETACHED, why);
	connection_free(c);
}

struct connection *connection_of(const struct connections *connections, const struct session *session)
{
	struct connection *c;

	LIST_FOREACH(c, &connections->all, link)
		if (c->session == session)
			break;
	return c;
}

/* A process that is gone by now is noticed at once: its pidfd is readable. */
int connection_watch(struct connection *c)
{
	c->gone = event_new(c->connections->base, c->peer.pidfd, EV_READ, c->connections->gone, c);
	return c->gone && event_add(c->gone, NULL) == 0 ? 0 : -ENOMEM;
}

struct connection *connection_new(struct connections *connections, int fd, struct peer *peer)
{
	static const struct timeval hello = { .tv_sec = HELLO_SECONDS };
	struct connection *c = calloc(1, sizeof(*c));

	if (!c) {
		peer_release(peer);
		return NULL;
	}
	*c = (struct connection){ .connections = connections, .fd = fd, .peer = *peer };
	LIST_INSERT_HEAD(&connections->all, c, link);
	c->readable = event_new(connections->base, fd, EV_READ | EV_PERSIST, connections->readable, c);
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

struct connection *connection_without(struct connections *connections, struct session *session,
				      struct peer *peer)
{
	static const struct timeval patience = { .tv_sec = CONNECTION_CHILD_SECONDS };
	struct connection *c = calloc(1, sizeof(*c));

	if (!c) {
		peer_release(peer);
		return NULL;
	}
	*c = (struct connection){ .connections = connections, .fd = -1, .peer = *peer, .session = session };
	LIST_INSERT_HEAD(&connections->all, c, link);
	if (session->pid) {
		if (connection_watch(c) == 0)
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
