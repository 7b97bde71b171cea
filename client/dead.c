/* SPDX-License-Identifier: MIT */
/*
 * Objects that have died, of types that are watched for it. The queues are the daemon's; this asks for one at a time. The daemon
 * holds what it gives until the reply is here, and on this thread's stack.
 */
#include <errno.h>

#include "client/client.h"
#include "heapd/message.h"

static int dead_call(heapd_type *type, struct heapd_message *m)
{
	if (!type)
		return error_set(EINVAL, "no type: look at what heapd_type_define() returned");
	if (!thread_self(type->heap))
		return -errno;
	m->dead.type = type->index;
	return request_call(type->heap, m, NULL, NULL);
}

int heapd_type_watch_dead(heapd_type *type)
{
	struct heapd_message m = { .op = HEAPD_OP_WATCH_DEAD };

	return dead_call(type, &m);
}

void *heapd_type_next_dead(heapd_type *type)
{
	struct heapd_message m = { .op = HEAPD_OP_NEXT_DEAD };

	if (dead_call(type, &m) < 0)
		return NULL;
	if (!m.dead.object)
		errno = 0;
	return (void *)(uintptr_t)m.dead.object;
}
