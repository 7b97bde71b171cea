/* SPDX-License-Identifier: MIT */
/*
 * What the service manager hands over, and keeps for the next exporter.
 */
#ifndef HEAPD_BPF_HANDOVER_H
#define HEAPD_BPF_HANDOVER_H

#include <stdbool.h>

#include "installed.h"

struct handover {
	int socket; /* to listen on; -1: none was handed over */
	bool is_served; /* there is a service manager, which starts another exporter when this one says that it is needed */
};

/* Files that the last exporter had kept are added to those that are installed now. */
void handover_take(struct handover *handover, struct installed *installed);

/* These files, and no other, are kept for the next one. */
void handover_keep(const struct handover *handover, const struct installed *installed);

#endif
