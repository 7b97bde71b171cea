/* SPDX-License-Identifier: MIT */
/*
 * quota.h - what one user may cost the daemon.
 */
#ifndef HEAPD_DAEMON_QUOTA_H
#define HEAPD_DAEMON_QUOTA_H

#include <sys/types.h>

#include "heapd/message.h"
#include "refusal.h"
#include "sessions.h"

/* Measures what all sessions take: now and then, since it costs a system call for each. */
void quota_look(struct sessions *sessions);

/* After that: a session to be ended, since its user's take what can only have been taken behind the library's back. Or NULL. */
struct session *quota_excess(const struct sessions *sessions);

/*
 * May this user have one more session, with that room (HEAPD_ROOM_*) at the least? It becomes what the session begins with.
 * -EUSERS, and which option says no.
 */
int quota_open(const struct sessions *sessions, uid_t uid, uint32_t room[2], struct refusal *why);

/* The same for more room in a session that is there; what there is then stands in `asked`, too. */
int quota_room(const struct session *session, struct heapd_room_request *asked, uint32_t room[2],
	       struct refusal *why);

#endif
