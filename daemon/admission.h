/* SPDX-License-Identifier: MIT */
/*
 * admission.h - who is let in to which heap.
 */
#ifndef HEAPD_DAEMON_ADMISSION_H
#define HEAPD_DAEMON_ADMISSION_H

#include "heapd/message.h"
#include "peer.h"
#include "refusal.h"
#include "sessions.h"

/* The session that a HELLO asks for, which may hold anything; or why there is none. */
int admission_attach(struct sessions *sessions, const struct peer *peer, int socket,
		     const struct heapd_hello *hello, struct session **session, struct refusal *why);

/* A session for a child that an attached process is about to fork: of the same heap, with the same rights. m: its request. */
int admission_fork(struct session *parent, const struct heapd_message *m, struct session **child,
		   struct refusal *why);

/* More room in the memory of an attached process's session, if its user may have it; what there is then stands in `asked`. */
int admission_room(struct session *session, struct heapd_room_request *asked, struct refusal *why);

/* The heaps that the peer may use, from heaps->next on. */
void admission_list(const struct sessions *sessions, const struct peer *peer, struct heapd_heaps *heaps);

#endif
