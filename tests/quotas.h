/* SPDX-License-Identifier: MIT */
/* For tests of what users may have: processes of several real users, each of which tells its test what it got. */
#ifndef HEAPD_TESTS_QUOTAS_H
#define HEAPD_TESTS_QUOTAS_H

#include <check.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fixture.h"
#include "heapd/geometry.h"
#include "heapd/session.h"
#include "users.h"

#define USERS 6

static struct fixture f;

/* What a user's process got, and why not more, for its test to see. */
struct outcome {
	_Atomic int done;
	unsigned sessions, threads, pins;
	uint64_t bytes;
	char text[256];
};

static struct outcome *outcomes;
static unsigned number; /* of the user, among those of a test */

static inline void start(const char *const settings[])
{
	fixture_start(&f, settings);
	outcomes = mmap(NULL, USERS * sizeof(*outcomes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	ck_assert_ptr_ne(outcomes, MAP_FAILED);
	number = 0;
}

/* Of user `number`, that goes on living when it is done; waits for that. */
static inline pid_t begin_user(uid_t uid, int (*fn)(void))
{
	struct process p = { uid, NO_GROUP, fn };
	pid_t pid = fixture_client_fork(become, &p);

	for (unsigned i = 0; !outcomes[number].done && i < 50000; i++)
		usleep(1000);
	ck_assert_msg(outcomes[number].done, "user %u does not come to its end", uid);
	number++;
	return pid;
}

static inline void end_user(pid_t pid)
{
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
}

static inline int stay(void)
{
	outcomes[number].done = 1;
	pause();
	return 0;
}

/* A session, with its memory where *core says; or -errno, and why. */
static inline int attach_raw(struct heapd_session **core)
{
	struct fixture_fds fds = { .n = 0 };
	struct heapd_message m;
	int fd = fixture_attach(&f, "odd", 0, &m, &fds);

	*core = NULL;
	if (fd >= 0)
		*core = mmap(NULL, HEAPD_SESSION_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			     fds.fd[3], 0);
	else
		memcpy(outcomes[number].text, m.text, sizeof(m.text));
	fixture_close(&fds);
	return fd;
}

/* The room that there is then, or -errno. */
static inline int ask_room(int fd, uint32_t kind, uint32_t least, uint32_t wanted)
{
	struct heapd_message m = { .op = HEAPD_OP_ROOM };

	m.room.kind = kind;
	m.room.least = least;
	m.room.wanted = wanted;
	if (fixture_call(fd, &m, NULL) < 0)
		return -EIO;
	if (m.status < 0)
		memcpy(outcomes[number].text, m.text, sizeof(m.text));
	return m.status < 0 ? m.status : (int)m.room.room;
}

#endif
