/* SPDX-License-Identifier: MIT */
/*
 * Owns the sites and semaphores of the client library's probes: see heapd/probes.h. Right because each is expanded from the
 * list, here alone, and a probe does nothing that the rest could notice.
 */
#define HEAPD_PROBES_DEFINE
#include "heapd/probes.h"

HEAPD_PROBES_CLIENT(HEAPD_PROBE_SITE)
