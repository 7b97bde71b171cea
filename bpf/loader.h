/* SPDX-License-Identifier: MIT */
/*
 * The BPF programs, loaded and attached; and what they have counted.
 */
#ifndef HEAPD_BPF_LOADER_H
#define HEAPD_BPF_LOADER_H

#include "distributions.h"

struct loader;

/*
 * Attaches to all present and future processes that run these two files. 0, or -errno and why; *how then is what kind
 * of link was used. Whatever comes of it, the process has given up its capabilities.
 */
int loader_start(struct loader **loader, const char *daemon, const char *library, const char **how);
void loader_stop(struct loader *loader);

/* Of all CPUs together; zeros if nothing was counted yet, or loader is NULL. */
void loader_read(const struct loader *loader, const struct distribution_key *key, struct distribution *sum);

#endif
