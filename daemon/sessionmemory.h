/* SPDX-License-Identifier: MIT */
/*
 * sessionmemory.h - the memory files of sessions, some of them made ahead, so that attaching is fast.
 *
 * All of it belongs to the main thread.
 */
#ifndef HEAPD_DAEMON_SESSIONMEMORY_H
#define HEAPD_DAEMON_SESSIONMEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "store.h"

#define SESSIONMEMORIES_READY 8u

struct sessionmemory {
	int fd;
	struct heapd_session *core; /* HEAPD_SESSION_CORE bytes */
	uint64_t number;            /* it is stored under; 0: it is not */
};

struct sessionmemories {
	struct store *store;
	uint64_t next; /* number */
	struct sessionmemory ready[SESSIONMEMORIES_READY];
	unsigned nready;
};

void sessionmemories_init(struct sessionmemories *memories, struct store *store);
void sessionmemories_deinit(struct sessionmemories *memories);
/* Makes those that are missing; for moments when nobody waits. */
void sessionmemories_refill(struct sessionmemories *memories);
bool sessionmemories_are_low(const struct sessionmemories *memories);

/* One that was made ahead, or a new one: mapped, and stored where there is a store. -errno. */
int sessionmemories_take(struct sessionmemories *memories, struct sessionmemory *memory);
/* A new one that is not stored, and ends with this daemon. -errno. */
int sessionmemories_take_spare(struct sessionmemory *memory);
/* The one that the last daemon stored under that number, mapped. -errno; then release it all the same. */
int sessionmemories_restore(struct sessionmemories *memories, uint64_t number, struct sessionmemory *memory);
/* Nobody will look for it: out of the store. It stays mapped. */
void sessionmemories_unstore(struct sessionmemories *memories, struct sessionmemory *memory);

/* Unmapped and closed; where it is stored it stays so. */
void sessionmemory_release(struct sessionmemory *memory);

/* Of a stored memory file: it was made ahead, and no process has had it. */
bool sessionmemory_is_new(int fd);

#endif
