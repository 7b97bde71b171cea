/* SPDX-License-Identifier: MIT */
/*
 * crew.h - the workers: started, killed, replaced, until the index is built.
 */
#pragma once

#include "host.h"
#include "options.h"
#include "schema.h"

struct crew_report {
	unsigned killed;
	double seconds;
};

/*
 * Builds the index with options->workers workers. -EINTR: this process was told to end; other errors after having
 * said why. When it returns, no worker lives.
 */
int crew_run(const struct options *options, struct host *host, const struct table *table,
	     struct crew_report *report);
