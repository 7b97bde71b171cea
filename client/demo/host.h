/* SPDX-License-Identifier: MIT */
/*
 * host.h - a private daemon, in a directory of its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define HOST_HEAP "demo"

struct host {
	char directory[80];
	char socket[108], config[108], log[108];
	pid_t pid; /* 0: not running */
};

/*
 * Starts heapd with one heap, HOST_HEAP, that may commit so much, and returns when it answers. If `outlive`, it stays when
 * we are gone. -EINTR as in child.h. After a failure, too, host_stop() is called.
 */
int host_start(struct host *host, uint64_t heap_size, bool outlive);

/* -errno, after having said so, if the daemon is no longer there. */
int host_check(struct host *host);

/* Ends it and removes its directory. */
void host_stop(struct host *host);

/* Leaves it running, and says how to ask the index in it, and how to end it. */
void host_keep(const struct host *host);

/* ROLE_DAEMON: becomes heapd; comes back only with an error. */
int host_become_daemon(const char *config, bool outlive);
