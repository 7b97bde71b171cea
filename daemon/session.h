/* SPDX-License-Identifier: MIT */
/*
 * session.h - attached processes: their memory, their places in their heaps, and how many there may be.
 *
 * All of it belongs to the main thread, but for the table of session memories of each heap (clients.h).
 */
#ifndef HEAPD_DAEMON_SESSION_H
#define HEAPD_DAEMON_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "clients.h"
#include "config.h"
#include "heap.h"
#include "heapd/message.h"
#include "log.h"
#include "refusal.h"
#include "sessionmemory.h"
#include "store.h"

#define SESSIONS_LINES 100u /* of each kind that are logged in a log limit's window */

/* A user who has sessions. */
struct session_user {
	uid_t uid;
	unsigned sessions;
	uint64_t bytes, most; /* quota.c: memory that they take, and the most that they may */
	LIST_ENTRY(session_user) link;
};

struct session {
	struct sessions *sessions;
	struct session_user *user;
	uint64_t bytes;   /* that its memory took when quota.c looked last */
	uint64_t charged; /* for it, to the heap */
	uint32_t room[2]; /* HEAPD_ROOM_*: what it may use of its memory */
	struct heap *heap;
	struct sessionmemory memory;
	int notify;         /* the daemon's end */
	int notify_client;  /* the client's, until it was sent */
	uint64_t id;        /* never reused */
	unsigned index;     /* of heap->clients */
	pid_t pid;          /* 0: of a forked child that has not spoken yet, ... */
	pid_t parent;       /* ... whose it is, ... */
	uint64_t maker;     /* ... which session asked for it, ... */
	uint32_t maker_seq; /* ... and by which request */
	uint64_t mark;      /* of the process, see peer.h; for its record */
	uid_t uid;
	bool read_only;
	bool administers; /* may set settings, and have the heap verified */
	bool spare;       /* in one of the places that administrators have besides: see admission.c */
	uint32_t debug;   /* HEAPD_HELLO_DEBUG */
	bool in_flight;   /* the last reply held an object's address: see clients_hold() */
	char client[HEAPD_NAME_MAX]; /* what it calls itself; for people */
	LIST_ENTRY(session) link;
};

struct sessions {
	struct log *log;
	const struct config *config; /* replaced when the configuration is read again */
	struct sessionmemories memories;
	struct heap **heaps;
	size_t nheaps;
	LIST_HEAD(, session) all;
	LIST_HEAD(, session_user) users;
	unsigned count, nusers;
	unsigned spares; /* of count */
	uint64_t next_id;
	struct log_limit begun, ended, died; /* lines that a process makes by attaching all the time, ... */
	struct log_limit crowded;            /* ... and by asking for more than its user may have */
};

enum session_end {
	SESSION_DETACHED, /* it said so */
	SESSION_DIED,     /* its process is gone, or its socket ended */
	SESSION_DROPPED,  /* the daemon ended it */
};

void sessions_init(struct sessions *sessions, struct log *log, const struct config *config,
		   struct store *store);
/* Those that are still there, of which the next daemon will know, are let go of. After their heaps' end. */
void sessions_deinit(struct sessions *sessions);

struct heap *sessions_find_heap(const struct sessions *sessions, const char *name);

/* Whom a session is made for. */
struct session_owner {
	pid_t pid;      /* 0: not known yet: of a forked child, ... */
	pid_t parent;   /* ... whose, ... */
	uint64_t maker; /* ... and by which session and request */
	uint32_t maker_seq;
	int pidfd, socket; /* of that process; stay the caller's, who closes them after the session's end */
	uid_t uid;
	bool read_only, administers;
	bool spare;
	uint32_t debug; /* HEAPD_HELLO_DEBUG */
	const char *client;
	uint32_t room[2]; /* HEAPD_ROOM_* */
};

/* Whether there may be one more is asked before: quota.h. */
int session_open(struct sessions *sessions, struct heap *heap, const struct session_owner *owner,
		 struct session **session, struct refusal *why);

/* What is sure to be touched of a session's memory with such room. */
uint64_t session_room_bytes(const uint32_t room[2]);
/* How much of its memory it may use from now on, which is never less than before. -ENOMEM. */
int session_set_room(struct session *session, const uint32_t room[2], struct refusal *why);

/* The session is this process's: at its making, or when the forked child has spoken. pidfd and socket as above. */
void session_claim(struct session *session, pid_t pid, int pidfd, int socket);

/*
 * One of the last daemon's, from the ledger's record at that place of its heap, which is dropped if that cannot be, as that of a spare
 * one. The heap is not looked at by anybody yet. -errno, logged.
 */
int session_restore(struct sessions *sessions, struct heap *heap, unsigned index, struct session **session);

/* What was on its way to it stays held until its next request. The process is connected again: by that socket, and by a new notify socket, for session_welcome(). */
int session_reconnect(struct session *session, int socket, struct refusal *why);

struct session *sessions_find(const struct sessions *sessions, uint64_t id);
/* The forked child's that was made by this request, and has not been claimed. */
struct session *sessions_find_child(const struct sessions *sessions, uint64_t maker, uint32_t seq);

/*
 * What it handed back is collected, then its memory, with its pins, is forgotten. why: how it ended, for the log.
 */
void session_close(struct session *session, enum session_end end, const char *why);

/* What the client maps: the reply to HELLO. Returns the number of descriptors, which stay the session's. */
size_t session_welcome(const struct session *session, struct heapd_welcome *welcome, int fds[5]);
void session_welcomed(struct session *session);

#endif
