/* SPDX-License-Identifier: MIT */
/*
 * The BPF programs, loaded and attached; and what they have counted.
 */
#ifndef HEAPD_BPF_LOADER_H
#define HEAPD_BPF_LOADER_H

#include <stdbool.h>

#include "distributions.h"
#include "installed.h"

struct loader;

/* How programs are attached: by the first of these two that the kernel has, or by this one. */
enum loader_links { LOADER_ANY, LOADER_MULTI, LOADER_USDT };

struct loader_site {
	struct site_key key;
	struct site site;
};

/* Bytes of samples whose sites are not known: there was no room for them; they have no stack. */
struct loader_lost {
	unsigned long long room, stack;
};

/*
 * Attaches to all present and future processes that run these files: the newest of each, and those of before as far as
 * they have the probes. 0, or -errno and why; *how then is what kind of link was used.
 */
int loader_start(struct loader **loader, const struct installed *installed, enum loader_links links,
		 const char **how);
void loader_stop(struct loader *loader);

/* Of all CPUs together; zeros if nothing was counted yet, or loader is NULL. */
void loader_read(const struct loader *loader, const struct distribution_key *key, struct distribution *sum);

/* Where samples come from, in no order: freed by the caller. NULL: memory is short, or *n is 0. */
struct loader_site *loader_sites(const struct loader *loader, unsigned *n);

struct loader_lost loader_lost(const struct loader *loader);

#endif
