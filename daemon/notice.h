/* SPDX-License-Identifier: MIT */
/*
 * notice.h - datagrams of sd_notify(3), as who listens at NOTIFY_SOCKET gets them.
 */
#ifndef HEAPD_DAEMON_NOTICE_H
#define HEAPD_DAEMON_NOTICE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define NOTICE_FDS   16u
#define NOTICE_VALUE 256u

struct notice {
	char text[1024];
	int fds[NOTICE_FDS];
	size_t nfds;
	pid_t pid;
};

/* False: there is none. Its descriptors are the caller's. */
bool notice_receive(int fd, struct notice *notice);

/* The value of the line that begins with name=, up to its end; NULL: there is none. */
const char *notice_value(const struct notice *notice, const char *name, char value[NOTICE_VALUE]);
/* There is a line name=1. */
bool notice_says(const struct notice *notice, const char *name);

#endif
