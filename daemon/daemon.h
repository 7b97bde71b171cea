/* SPDX-License-Identifier: MIT */
/*
 * daemon.h - the whole of the daemon, from its configuration to its end.
 */
#ifndef HEAPD_DAEMON_DAEMON_H
#define HEAPD_DAEMON_DAEMON_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "log.h"

/* Where the configuration comes from: read at the start and at each reload. */
struct daemon_source {
	const char *file;
	bool file_required;
	char **overrides; /* as config_override() takes them, in order */
	size_t noverrides;
	bool discard_heaps; /* what an earlier daemon left is dropped */
};

/* Reads, overrides and checks; logs every mistake. On failure there is nothing to free. */
int daemon_configure(const struct daemon_source *source, struct config *config, struct log *log);

/* Runs until SIGTERM or SIGINT; 0, or -errno after logging why it cannot. Takes the configuration over. */
int daemon_run(const struct daemon_source *source, struct config *config, struct log *log);

#endif
