/* SPDX-License-Identifier: MIT */
/*
 * clients.h - the mapped session memories of one heap, for whoever looks through all of them.
 *
 * Everything here, heap->clients included, is read and changed under heap->lock alone. What `memory` points at is
 * written by the client at any time: each word is read once.
 */
#ifndef HEAPD_DAEMON_CLIENTS_H
#define HEAPD_DAEMON_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "heap.h"
#include "heapd/session.h"

struct client {
	struct heapd_session *memory; /* HEAPD_SESSION_CORE bytes; NULL unless live */
	uint64_t id;
	bool live;
};

struct clients {
	struct client *slots;
	unsigned n; /* slots ever used are below this */
	unsigned allocated;
	unsigned live;
};

int clients_init(struct heap *heap);
void clients_deinit(struct heap *heap);

/* With heap->lock held. The place is the client's until it is removed; slots may move. */
int clients_add(struct heap *heap, struct heapd_session *memory, uint64_t id, unsigned *index);
void clients_remove(struct heap *heap, unsigned index);

#endif
