/* SPDX-License-Identifier: MIT */
/*
 * sessions.h - all attached processes, and the users whose they are.
 *
 * All of it belongs to the main thread, but for the table of session memories of each heap (clients.h).
 */
#ifndef HEAPD_DAEMON_SESSIONS_H
#define HEAPD_DAEMON_SESSIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "clients.h"
#include "config.h"
#include "heap.h"
#include "log.h"
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

/* One that is not in the table yet, and has neither memory nor sockets. NULL: no memory. */
struct session *sessions_make(struct sessions *sessions, struct heap *heap,
			      const struct session_owner *owner);
/* Its end; what it had is given back already. */
void sessions_free(struct session *session);
/* The same, with what this process has of it; what is stored stays, for the next daemon. */
void sessions_let_go(struct session *session);

/* Into the table, and its heap's count, and out of them. */
void sessions_add(struct session *session);
void sessions_remove(struct session *session);

struct session *sessions_find(const struct sessions *sessions, uint64_t id);
/* The forked child's that was made by this request, and has not been claimed. */
struct session *sessions_find_child(const struct sessions *sessions, uint64_t maker, uint32_t seq);

#endif
