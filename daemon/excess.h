/* SPDX-License-Identifier: MIT */
/*
 * excess.h - how often the memory of sessions is measured, and what becomes of those whose memory nobody gave them.
 */
#ifndef HEAPD_DAEMON_EXCESS_H
#define HEAPD_DAEMON_EXCESS_H

#include "connections.h"

struct excess {
	struct connections *connections;
	struct event *timer;
};

/* From then on, in the main thread. -ENOMEM. */
int excess_start(struct excess *excess, struct connections *connections);
void excess_stop(struct excess *excess);

#endif
