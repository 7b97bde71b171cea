/* SPDX-License-Identifier: MIT */
/*
 * Room in the session: how many thread records and pins this process may use.
 *
 * The daemon gives it, since each costs it memory and work, and looks at nothing beyond. A session begins with enough for most
 * processes; who needs more asks, each time for twice as much, so that asking is rare. The figure in the session's memory
 * is the daemon's, written before its answer.
 */
#include "room.h"

#include "heapd/message.h"

int room_ask(struct heapd_heap *heap, unsigned kind, uint32_t least)
{
	uint32_t most = kind == HEAPD_ROOM_THREADS ? HEAPD_THREAD_MAX : HEAPD_PIN_MAX;
	struct heapd_message m = { .op = HEAPD_OP_ROOM };

	m.room.kind = kind;
	m.room.least = least;
	m.room.wanted = least > most / 2 ? most : 2 * least;
	return request_call(heap, &m, NULL, NULL);
}
