/* SPDX-License-Identifier: MIT */
/*
 * arrival.h - how a connection comes to have a session.
 */
#ifndef HEAPD_DAEMON_ARRIVAL_H
#define HEAPD_DAEMON_ARRIVAL_H

#include "connection.h"
#include "wire.h"

/* Descriptors that go with a reply, and those of them that are closed once it was sent. */
struct enclosure {
	int fds[WIRE_FDS_MAX];
	size_t nfds;
	int close_fd;             /* -1: none */
	struct session *welcomed; /* whose welcome it is, or NULL */
};

/* The answers to HELLO, FORK, HELLO_CHILD and HELLO_AGAIN: 0, and the reply; or -errno, and why. */
int arrival_hello(struct connection *c, struct heapd_message *m, struct enclosure *e, struct refusal *why);
int arrival_fork(struct connection *c, struct heapd_message *m, struct enclosure *e, struct refusal *why);
int arrival_child(struct connection *c, const struct ucred *credentials, struct refusal *why);
int arrival_again(struct connection *c, struct heapd_message *m, struct enclosure *e, struct refusal *why);

#endif
