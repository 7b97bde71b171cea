/* SPDX-License-Identifier: MIT */
/* For tests of what a service manager hears: this process is one, for the daemon that it starts. */
#ifndef HEAPD_TESTS_MANAGER_H
#define HEAPD_TESTS_MANAGER_H

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fixture.h"
#include "heapd/atomic.h"

/* So long a daemon, or a thread of it, stands at a time where it is slowed down. */
#ifdef HEAPD_TSAN /* all takes so much longer */
#define STOPPED_US 5000u
#else
#define STOPPED_US 20000u
#endif

/* A service manager that listens. */
static inline int manager(struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path, sizeof(address->sun_path), "/tmp/heapd-manager.%d", getpid());
	unlink(address->sun_path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)address, sizeof(*address)), 0);
	setenv("NOTIFY_SOCKET", address->sun_path, 1);
	return fd;
}

/* Whether it hears a text in time. */
static inline bool hears(int fd, const char *wanted, char *text, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t end = fixture_now_ns() + 5000000000u;

	while (fixture_now_ns() < end && poll(&p, 1, 5000) > 0) {
		ssize_t n = recv(fd, text, size - 1, 0);

		text[n > 0 ? n : 0] = '\0';
		if (strstr(text, wanted))
			return true;
	}
	return false;
}

/* Nobody who listens no more holds up a daemon that ends. */
static inline void manager_end(struct fixture *f, int fd, const struct sockaddr_un *address)
{
	fixture_stop(f);
	close(fd);
	unlink(address->sun_path);
}

#endif
