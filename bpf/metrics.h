/* SPDX-License-Identifier: MIT */
/*
 * What is exported, and under what names.
 */
#ifndef HEAPD_BPF_METRICS_H
#define HEAPD_BPF_METRICS_H

#include "exposition.h"
#include "heaps.h"
#include "loader.h"
#include "tracing.h"

struct metrics {
	struct heaps *heaps;
	const struct loader *loader; /* NULL: no BPF */
	const char *how;             /* it is attached */
	const struct installed *installed;
	const struct tracing *tracing; /* NULL: nothing is sent */
	bool stale;                    /* another file is installed than those that it is attached to */
	const char *version;
};

/* Everything. Never waits. */
void metrics_write(struct metrics *metrics, struct exposition *e);

/* self.c: of the exporter. */
void self_write(const struct metrics *metrics, struct exposition *e);

/* process.c: of the daemon. 0: there is none. */
void process_write(struct exposition *e, pid_t daemon);

#endif
