/* SPDX-License-Identifier: MIT */
/*
 * connection.h - one socket of a client, and the process at its other end.
 *
 * All in the main thread, in callbacks of the event loop.
 */
#ifndef HEAPD_DAEMON_CONNECTION_H
#define HEAPD_DAEMON_CONNECTION_H

#include <event2/event.h>
#include <sys/queue.h>

#include "log.h"
#include "peer.h"
#include "session.h"

#define CONNECTION_CHILD_SECONDS 60 /* for a forked child of which nobody knows whether there is one */

struct connections {
	struct event_base *base;
	struct sessions *sessions;
	struct log *log;
	struct event *refill;             /* of sessions, when there is time */
	event_callback_fn readable, gone; /* connections.c: of each connection, which they are given */
	LIST_HEAD(, connection) all;
	struct log_limit malformed, deaf, crowd, cut;
};

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

/* Frees the event, if there is one. */
void event_drop(struct event **event);

/* Takes over the peer, and the socket if it succeeds. Who does not say what it wants within a while is given up. */
struct connection *connection_new(struct connections *connections, int fd, struct peer *peer);

/* Of a session that has nobody at the other end yet: it waits for its process's return, or its end. Takes over the peer. */
struct connection *connection_without(struct connections *connections, struct session *session,
				      struct peer *peer);

/* The connection alone; and with its session. */
void connection_free(struct connection *c);
void connection_end(struct connection *c, enum session_end end, const char *why);

/* Has `gone` called when its process is. -ENOMEM. */
int connection_watch(struct connection *c);

/* That session's, or NULL. */
struct connection *connection_of(const struct connections *connections, const struct session *session);

#endif
