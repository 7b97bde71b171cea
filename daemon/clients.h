/* SPDX-License-Identifier: MIT */
/*
 * clients.h - the mapped session memories of one heap, for whoever looks through all of them.
 *
 * Everything here, heap->clients included, is read and changed under heap->lock alone. What `memory` points
 * at is written by the client at any time: each word is read once.
 *
 * A client that ends while a cycle is under way stays in the table as `gone` until the cycle's end: what it logged
 * and published counts for that cycle, and its pins are roots so long, since to drop them in its midst would be a
 * deletion that nobody shaded.
 */
#ifndef HEAPD_DAEMON_CLIENTS_H
#define HEAPD_DAEMON_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "heap.h"
#include "heapd/atomic.h"
#include "heapd/message.h"
#include "heapd/session.h"
#include "ledger.h"

struct client {
	struct heapd_session *memory; /* HEAPD_SESSION_CORE bytes; NULL unless live or gone */
	int fd;     /* of the memory: the session's, and the table's once the client is gone */
	int notify; /* where the session sends notes: its own */
	int socket; /* the connection's, as the next: valid while the client is live; -1: it has not connected again */
	int pidfd; /* -1: none, as of a child that has not spoken */
	pid_t pid; /* 0: of a forked child that has not spoken */
	uint64_t id;
	const uint32_t *room; /* HEAPD_ROOM_*, in the ledger: what is looked at; NULL: all that there can be */
	bool full;            /* its user has all the memory that it may have: its rings get no longer */
	uint32_t ring;        /* entries of its barrier rings; the collector's thread changes it */
	uint64_t in_flight;   /* an object whose address is on its way to the client in a reply, or 0 */
	bool sent;            /* ... and the reply is: not before that can it have arrived */
	uint32_t taker;       /* heapd_taker() of its user; 0: it only reads */
	bool share_full, share_waits; /* takers.c: what it was told; it has asked for more */
	uint32_t share_event, share_refused;
	uint32_t debug; /* HEAPD_HELLO_DEBUG: what it asked to be told of */
	bool watches;   /* it asked to be told of the others, and of what is wrong */
	bool live, gone;
	bool dropped; /* a reader that did not answer: no handshake waits for it any more */
};

struct clients {
	struct client *slots;
	unsigned n; /* slots ever used are below this */
	unsigned allocated;
	unsigned used;                  /* live or gone */
	bool freed;                     /* one that has ended had freed by hand */
	struct ledger_session *records; /* the ledger's, by place: what is known of them after our own death */
	uint64_t low_told; /* CLOCK_MONOTONIC, ns: when clients last heard that memory is short */
	uint64_t version;  /* counts the changes of slots; read without the lock */
	uint32_t watchers; /* slots that watch; read without the lock, too */
};

/* With heap->lock held, after a change of a slot: the collector's next look sees it. */
static inline void clients_changed(struct clients *clients)
{
	HEAPD_STORE_RELEASE(&clients->version, clients->version + 1);
}

int clients_init(struct heap *heap);
void clients_deinit(struct heap *heap);

/* With heap->lock held. The place is the client's until it is removed; slots may move. */
int clients_add(struct heap *heap, const struct client *client, unsigned *index);

/* One that the last daemon had, at its place. Nobody else looks yet. -ENOMEM. */
int clients_restore(struct heap *heap, const struct client *client, unsigned index);

/* Where its notes go from now on, and with whom it is connected. Takes heap->lock. */
void clients_reconnect(struct heap *heap, unsigned index, int notify, int socket);

/* How much of it is looked at from now on, and whether its user may have no more memory. Takes heap->lock. */
void clients_set_room(struct heap *heap, unsigned index, const uint32_t room[2]);
void clients_set_full(struct heap *heap, unsigned index, bool full);
/* Entries of each of its barrier rings. Takes heap->lock. */
uint32_t clients_ring(struct heap *heap, unsigned index);

/* Who it is: known at once, or when a forked child has spoken. Takes heap->lock. */
void clients_name(struct heap *heap, unsigned index, pid_t pid, int pidfd, int socket);

/*
 * With heap->lock held. True: memory and descriptor are the caller's again. False: a cycle is under way, and
 * they belong to the table, which lets go of them in clients_reap().
 */
bool clients_remove(struct heap *heap, unsigned index);
void clients_reap(struct heap *heap);

/* An object that the daemon no longer holds is on its way to the client; 0: it has arrived. Takes heap->lock. */
void clients_hold(struct heap *heap, unsigned index, uint64_t object);

/* The reply that has it was sent. Takes heap->lock. */
void clients_sent(struct heap *heap, unsigned index);

/* Forgets what was in flight and has arrived, so that it is on the stack of whoever asked. Takes heap->lock. */
void clients_arrived(struct heap *heap);

/* Sends a note without waiting to all live ones: an agent that does not read has one waiting. Takes heap->lock. */
void clients_notify(struct heap *heap, const struct heapd_message *note);

/* The same, with heap->lock held, to those that asked for events. */
void clients_notify_events(struct heap *heap);

/* The client at that place is to be told of all that clients_notify_watchers() is called for. Takes heap->lock. */
void clients_watch(struct heap *heap, unsigned index);

/* The same note to those. With heap->lock held; costs nothing where nobody watches. */
void clients_notify_watchers(struct heap *heap);

/* To live ones that asked for such notes (HEAPD_HELLO_DEBUG). With heap->lock held. */
void clients_notify_debug(struct heap *heap, uint32_t debug, const struct heapd_message *note);

/*
 * Copies of all that are live or gone: the collector's. Takes heap->lock, but only if something has changed since the
 * last look: the marker looks all the time. Who was added before the look is seen: its client hears of it later than
 * the version changes. -ENOMEM.
 */
struct clients_view {
	struct client *list;
	unsigned n, room;
	uint64_t version; /* of the table, as of these copies, plus 1; 0: never looked */
};
int clients_look(struct heap *heap, struct clients_view *view);
void clients_view_deinit(struct clients_view *view);

/* At the most what it was given: whoever looks has the same figure at once, also the collector with its copies. */
static inline uint32_t client_room(const struct client *client, unsigned kind, uint32_t most)
{
	uint32_t room = client->room ? HEAPD_LOAD_ACQUIRE(&client->room[kind]) : most;

	return room < most ? room : most;
}

/* The threads of a session that have ever been used. What it uses beyond its room is nobody's. */
static inline struct heapd_thread *client_threads(const struct client *client, uint32_t *n)
{
	uint32_t used = HEAPD_LOAD_ACQUIRE(&client->memory->nthreads);
	uint32_t room = client_room(client, HEAPD_ROOM_THREADS, HEAPD_THREAD_MAX);

	*n = used < room ? used : room;
	return (struct heapd_thread *)(void *)((char *)client->memory + HEAPD_SESSION_THREAD_AT);
}

/* The same of its pins. */
static inline uint32_t client_pins(const struct client *client)
{
	uint32_t used = HEAPD_LOAD_ACQUIRE(&client->memory->npins);
	uint32_t room = client_room(client, HEAPD_ROOM_PINS, HEAPD_PIN_MAX);

	return used < room ? used : room;
}

/* Whether any of its threads has freed by hand. */
bool client_has_freed(const struct client *client);

/* A barrier ring of the client ran full: they are to be longer. True if they can be. Takes heap->lock. */
bool clients_lengthen(struct heap *heap, uint64_t id);

/*
 * Words from an offset of the session, each read once: 0 or -EIO. Not by a mapping: to read a hole of a mapped
 * memory file makes it memory, which a client could have us do for all of its session.
 */
int client_read(const struct client *client, uint64_t at, uint64_t *words, uint64_t n);

#endif
