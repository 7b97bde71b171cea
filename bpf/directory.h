/* SPDX-License-Identifier: MIT */
/*
 * A heap as the exporter sees it: its directory, mapped for reading, and the process that serves it.
 */
#ifndef HEAPD_BPF_DIRECTORY_H
#define HEAPD_BPF_DIRECTORY_H

#include <stdbool.h>
#include <sys/types.h>

#include "heapd/geometry.h"

struct directory {
	const char *socket; /* the daemon's */
	const char *name;
	struct heapd_tables t; /* t.directory is NULL until the first time that it could be had */
	uint64_t bytes;
	pid_t daemon;
	int pidfd;
};

void directory_init(struct directory *directory, const char *socket, const char *name);
void directory_deinit(struct directory *directory);

/*
 * Whether the daemon lives: if it does not, it is looked for anew. What was mapped stays mapped, and says what was last
 * known, until another can be.
 */
bool directory_look(struct directory *directory);

#endif
