/* SPDX-License-Identifier: MIT */
/* Processes of several real users, for tests that run as root. */
#ifndef HEAPD_TESTS_USERS_H
#define HEAPD_TESTS_USERS_H

#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#include "fixture.h"

enum { OWNER = 40001, MEMBER, OTHER, LISTED, GROUP = 50001, NO_GROUP };

struct process {
	uid_t uid;
	gid_t group;
	int (*fn)(void);
};

static inline int become(void *arg)
{
	const struct process *p = arg;

	if (setgroups(1, &p->group) < 0 || setgid(p->uid) < 0 || setuid(p->uid) < 0)
		return 99;
	return p->fn();
}

static inline bool is_root(const char *test)
{
	if (getuid() == 0)
		return true;
	printf("SKIP %s: needs root, to become other users\n", test);
	return false;
}

/* fn says 0 if all is well. */
static inline void run_as(uid_t uid, gid_t group, int (*fn)(void))
{
	struct process p = { uid, group, fn };

	fixture_wait(fixture_client_fork(become, &p), 0);
}

#endif
