/* SPDX-License-Identifier: MIT */
/*
 * listener.h - the daemon's socket in the file system, made here or handed over by systemd.
 */
#ifndef HEAPD_DAEMON_LISTENER_H
#define HEAPD_DAEMON_LISTENER_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "config.h"
#include "connections.h"
#include "log.h"

struct listener {
	struct log *log;
	struct connections *connections;
	int fd;
	char path[sizeof(((struct config *)NULL)->socket)]; /* empty: not made here */
	struct stat made;
	struct event *ready, *resume;
	struct log_limit full;
};

/*
 * passed: a listening socket, which becomes the listener's, or -1: it is made. Logs what went wrong. Connections are taken
 * from here on, as soon as the event loop runs.
 */
int listener_start(struct listener *listener, struct event_base *base, const struct config *config,
		   struct connections *connections, int passed, struct log *log);

/* Only makes the socket, for another process that listens. */
int listener_open(struct listener *listener, const struct config *config, struct log *log);
void listener_stop(struct listener *listener);

#endif
