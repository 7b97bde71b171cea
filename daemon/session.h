/* SPDX-License-Identifier: MIT */
/*
 * session.h - an attached process: its memory, and its place in its heap.
 *
 * Calls come from the main thread. Other threads see what the heap's table of session memories has of it (clients.h).
 */
#ifndef HEAPD_DAEMON_SESSION_H
#define HEAPD_DAEMON_SESSION_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "heap.h"
#include "heapd/message.h"
#include "refusal.h"
#include "sessions.h"

enum session_end {
	SESSION_DETACHED, /* it said so */
	SESSION_DIED,     /* its process is gone, or its socket ended */
	SESSION_DROPPED,  /* the daemon ended it */
};

/* Whether there may be one more is asked before: quota.h. */
int session_open(struct sessions *sessions, struct heap *heap, const struct session_owner *owner,
		 struct session **session, struct refusal *why);

/* What is sure to be touched of a session's memory with such room. */
uint64_t session_room_bytes(const uint32_t room[2]);
/* How much of its memory it may use from now on, which is never less than before. -ENOMEM. */
int session_set_room(struct session *session, const uint32_t room[2], struct refusal *why);

/* The session is this process's: at its making, or when the forked child has spoken. pidfd and socket as with its owner (sessions.h). */
void session_claim(struct session *session, pid_t pid, int pidfd, int socket);

/*
 * One of the last daemon's, from the ledger's record at that place of its heap, which is dropped if that cannot be, as that of a spare
 * one. The heap is not looked at by anybody yet. -errno, logged.
 */
int session_restore(struct sessions *sessions, struct heap *heap, unsigned index, struct session **session);

/* What was on its way to it stays held until its next request. The process is connected again: by that socket, and by a new notify socket, for session_welcome(). */
int session_reconnect(struct session *session, int socket, struct refusal *why);

/*
 * What it handed back is collected, then its memory, with its pins, is forgotten. why: how it ended, for the log.
 */
void session_close(struct session *session, enum session_end end, const char *why);

/* What the client maps: the reply to HELLO. Returns the number of descriptors, which stay the session's. */
size_t session_welcome(const struct session *session, struct heapd_welcome *welcome, int fds[5]);
void session_welcomed(struct session *session);

#endif
