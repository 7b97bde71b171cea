/* SPDX-License-Identifier: MIT */
/*
 * What is exported, and under what names.
 */
#ifndef HEAPD_BPF_METRICS_H
#define HEAPD_BPF_METRICS_H

#include "directory.h"
#include "exposition.h"
#include "loader.h"

struct metrics {
	struct directory *heaps;
	unsigned n;
	const struct loader *loader; /* NULL: no BPF */
	const char *how;             /* it is attached */
	const char *version;
};

/* Everything. Looks for daemons that have ended. */
void metrics_write(struct metrics *metrics, struct exposition *e);

/* process.c: of the daemon. 0: there is none. */
void process_write(struct exposition *e, pid_t daemon);

#endif
