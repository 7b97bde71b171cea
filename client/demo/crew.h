/* SPDX-License-Identifier: MIT */
/*
 * crew.h - the workers: started, killed, replaced, until the index is built and has been updated.
 */
#pragma once

#include "host.h"
#include "options.h"
#include "schema.h"

struct crew_report {
	unsigned killed, readings; /* workers; readers that walked through the whole index meanwhile */
	uint64_t rounds;
	double build_seconds, update_seconds;
	uint64_t committed; /* at most, of what was seen */
};

/*
 * Builds the index with options->workers workers and updates it as the options say. -EINTR: this process was told
 * to end; other errors after having said why. When it returns, no worker lives.
 */
int crew_run(const struct options *options, struct host *host, heapd_heap *heap, struct table *table,
	     struct crew_report *report);
