/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_AGENT_H
#define HEAPD_CLIENT_AGENT_H

#include "client.h"

/* Starts the agent of an attachment whose notify socket is open. */
hidden int agent_start(struct heapd_heap *heap);

/* Ends it and waits for its end; harmless when it was never started. */
hidden void agent_end(struct heapd_heap *heap);

/* Has it look at the watches now. */
hidden void agent_kick(struct heapd_heap *heap);

/* In a forked child: there is no such thread here; only its eventfd is left. */
hidden void agent_forget(struct heapd_heap *heap);

#endif
