/* SPDX-License-Identifier: MIT */
/*
 * connections.h - all sockets of clients: from accept() to their end, and the death of who holds them.
 *
 * All in the main thread, in callbacks of the event loop.
 */
#ifndef HEAPD_DAEMON_CONNECTIONS_H
#define HEAPD_DAEMON_CONNECTIONS_H

#include "connection.h"

int connections_init(struct connections *connections, struct event_base *base, struct sessions *sessions,
		     struct log *log);

/* A session of the last daemon's: it waits for its process to connect again. False: that is gone, and so is the session. */
bool connections_expect(struct connections *connections, struct session *session);

/* From time to time: ends the sessions of those who left instead of connecting again. */
void connections_look(struct connections *connections);

/* Ends all connections, and their sessions, unless another daemon is to find those. */
void connections_deinit(struct connections *connections);

/* Takes the socket over, also when it fails: -EMFILE, for instance, if there is no file left to ask the kernel by whose it is. */
int connections_accept(struct connections *connections, int fd);

#endif
