/* SPDX-License-Identifier: MIT */
/*
 * A heap as the exporter sees it: its directory, mapped for reading.
 */
#ifndef HEAPD_BPF_DIRECTORY_H
#define HEAPD_BPF_DIRECTORY_H

#include <stdbool.h>

#include "heapd/geometry.h"

struct directory {
	char name[HEAPD_NAME_MAX];
	struct heapd_tables t; /* t.directory is NULL until the first time that it could be had */
	uint64_t bytes;
	bool wanted;     /* by its name: it stays, whether the daemon has it or not */
	bool listed;     /* by the daemon, when it was asked last */
	bool up;         /* mapped from the daemon that lives now */
	uint64_t traced; /* the last collection that was sent as a trace */
};

/* NULL: out of memory. */
struct directory *directory_new(const char *name);
void directory_free(struct directory *directory);

/*
 * Maps what the descriptor stands for in the place of what was mapped; the descriptor stays the caller's. What was mapped
 * stays, and says what was last known, until another can be. -EPROTO: it is no directory, or that of another version.
 */
int directory_map(struct directory *directory, int fd);

#endif
