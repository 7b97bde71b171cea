/* SPDX-License-Identifier: MIT */
/*
 * The files whose probes are looked at: daemon and library as they are installed now, and as they were before upgrades.
 */
#ifndef HEAPD_BPF_INSTALLED_H
#define HEAPD_BPF_INSTALLED_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#define INSTALLED_GENERATIONS 4u

enum installed_which { INSTALLED_DAEMON, INSTALLED_LIBRARY, INSTALLED_FILES };

/* Tells two files apart, though one has the other's path. All 0: there is none. */
struct installed_id {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec written;
};

/* One of the two, newest first. The first one's fd is -1 if it could not be opened. */
struct installed_file {
	const char *path;
	int fds[INSTALLED_GENERATIONS];
	unsigned n;
	struct installed_id begun, seen; /* what the path named when it was opened, and at the last look */
};

struct installed {
	struct installed_file files[INSTALLED_FILES];
};

enum installed_change {
	INSTALLED_SAME,
	INSTALLED_CHANGED, /* a path names another file than it did */
	INSTALLED_SETTLED, /* both are there, and what they were at the look before this one */
};

void installed_init(struct installed *installed, const char *daemon, const char *library);
void installed_deinit(struct installed *installed);

/* An older one, after those that are there: the descriptor is taken, and closed if it is known already, or too old. */
void installed_add(struct installed *installed, enum installed_which which, int fd);

enum installed_change installed_look(struct installed *installed);

#endif
