/* SPDX-License-Identifier: MIT */
/*
 * store.h - the descriptors that outlive the daemon: systemd's file descriptor store, or that of heapd --keep.
 *
 * A heap's are called heap.NAME.WHAT, those of sessions session.NUMBER. All of it belongs to the main thread.
 */
#ifndef HEAPD_DAEMON_STORE_H
#define HEAPD_DAEMON_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"

#define STORE_NAME_MAX 96

struct store_item {
	char name[STORE_NAME_MAX];
	int fd;
};

struct store {
	struct log *log;
	bool kept;                /* somebody keeps what is put in */
	unsigned capacity;        /* descriptors that it takes; what is beyond it would drop without a word */
	unsigned count;           /* that are in it */
	size_t names;             /* bytes of their names, with one more for each */
	int listener;             /* the socket that was passed, or -1 */
	struct store_item *items; /* that were given back, and that nobody has taken yet */
	size_t nitems;
	unsigned patience;            /* ms for which a word waits for room in the keeper's socket */
	bool deaf;                    /* the last one found none */
	char (*late)[STORE_NAME_MAX]; /* names that are still to be removed: so long they count */
	size_t nlate, late_room;
};

/* Looks who keeps descriptors, and takes what this process was started with. */
int store_init(struct store *store, struct log *log);
/* Closes what nobody took; it stays stored. */
void store_deinit(struct store *store);

/* The descriptor of that name, which is the caller's from now on and stays stored, or -ENOENT. */
int store_take(struct store *store, const char *name);

/* How many more it takes. */
unsigned store_room(const struct store *store);

/*
 * A copy is stored under the name. -ENOSPC: it is full; -ENAMETOOLONG: with names; -EAGAIN: who keeps it does not listen just now.
 * Where nobody keeps anything: nothing, and 0.
 */
int store_put(struct store *store, const char *name, int fd);
void store_remove(struct store *store, const char *name);

/* Clients wait for us from now on: a word that finds no room is waited for no longer than a moment. */
void store_hurry(struct store *store);
/* What is still to be removed, if the keeper listens again. To be called now and then. */
void store_flush(struct store *store);

/* What nobody took is stored no more: those whose names begin like this and, unless it is NULL, of which `which` is true. Their number. */
size_t store_drop(struct store *store, const char *prefix, bool (*which)(int fd));

#endif
