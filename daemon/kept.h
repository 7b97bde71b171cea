/* SPDX-License-Identifier: MIT */
/*
 * kept.h - descriptors that outlive a daemon, by name.
 */
#ifndef HEAPD_DAEMON_KEPT_H
#define HEAPD_DAEMON_KEPT_H

#include <stddef.h>

#include "log.h"

#define KEPT_FIRST_FD 3 /* SD_LISTEN_FDS_START */

struct kept {
	struct log *log;
	struct kept_item *items;
	size_t n, room, most;
};

/* Takes the descriptor over, also where there is no room for it, which is logged. */
void kept_add(struct kept *kept, const char *name, int fd);
/* All of that name. */
void kept_remove(struct kept *kept, const char *name);
void kept_free(struct kept *kept);

/* In a child: a listening socket and all that is kept are made its descriptors from KEPT_FIRST_FD on. -errno. */
int kept_pass(const struct kept *kept, int listening);
/* Their names in that order, separated by colons; NULL: no memory. */
char *kept_names(const struct kept *kept, const char *listening);

#endif
