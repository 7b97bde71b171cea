/* SPDX-License-Identifier: MIT */
/*
 * Owns the sites and semaphores of the daemon's probes: see heapd/probes.h. Right because each is expanded from the
 * list, here alone, and a probe does nothing that the rest could notice.
 */
#define HEAPD_PROBES_DEFINE
#include "heapd/probes.h"

HEAPD_PROBES_DAEMON(HEAPD_PROBE_SITE)
