/* SPDX-License-Identifier: MIT */
/*
 * punch.c - owns the process that punches.
 *
 * To punch a memory file takes its inode's lock, and nothing that waits for that lock can be killed. A client can hold it
 * for as long as it likes: it writes to the file out of memory that it never provides (userfaultfd, a file system of its
 * own). A thread of ours that waited there would keep the whole daemon from dying. So the call is made by a process that
 * has our memory and nothing else: it waits alone, and we neither live nor die by it.
 *
 * Its files are closed, since clients see by their sockets that we are gone. Only one stays open, the ledger, opened once
 * more so that its lock is this description's: it is held until both we and the process have ended. A daemon that finds it
 * held knows that the chunk which the ledger says is being punched may be emptied at any later time, and leaves it out.
 *
 * The process runs on a stack of its own but with our thread's registers, so it may touch neither errno nor anything else
 * that is a thread's: it makes its calls by itself.
 */
#include "punch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "alone.h"
#include "heapd/atomic.h"

#define ROOM_BYTES 16384u

#ifdef HEAPD_TSAN
/*
 * ThreadSanitizer's own takes the process for a child that has its memory alone, and notes in the memory that is ours, too, that
 * the calling thread is one of whose locks and ends it is to see nothing any more. So the C library's is called by its other name.
 */
extern int __clone(int (*fn)(void *arg), void *stack, int flags, void *arg,
		   ...); /* NOLINT(bugprone-reserved-identifier) */
#define clone __clone
#endif

void punch_init(struct punch *punch)
{
	*punch = (struct punch){ .lock = -1, .pidfd = -1 };
}

void punch_deinit(struct punch *punch)
{
	bool out = punch->pidfd >= 0;

	if (out)
		close(punch->pidfd);
	if (punch->room && !out)
		munmap(punch->room, ROOM_BYTES);
	if (punch->lock >= 0)
		close(punch->lock);
	punch_init(punch);
}

void punch_open(struct punch *punch, int ledger)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", ledger);
	punch->lock = open(path, O_RDWR | O_CLOEXEC);
	punch->late = true;
	punch->late = punch_is_late(punch);
}

bool punch_is_late(struct punch *punch)
{
	if (punch->late && punch->lock >= 0 && flock(punch->lock, LOCK_EX | LOCK_NB) == 0)
		punch->late = false;
	return punch->late;
}

/* The process ------------------------------------------------------------------------------------------------- */

/* The table of files is ours until the first call makes it the process's own. */
static ALONE int punch_alone(void *arg)
{
	const struct punch *punch = arg;
	long lock = punch->lock;

	if (call(SYS_close_range, lock + 1, UINT32_MAX, CLOSE_RANGE_UNSHARE, 0) < 0)
		return 1;
	if (lock > 0)
		call(SYS_close_range, 0, lock - 1, 0, 0);
	for (uint32_t i = 0; i < punch->n; i++)
		if (call(SYS_madvise, (long)punch->runs[i].at, (long)punch->runs[i].bytes, MADV_REMOVE, 0) <
		    0)
			return 1;
	return 0;
}

/* ------------------------------------------------------------------------------------------------------------- */

static int make_room(struct punch *punch)
{
	void *room;

	if (punch->room)
		return 0;
	room = mmap(NULL, ROOM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (room == MAP_FAILED)
		return -errno;
	punch->room = room;
	return 0;
}

void punch_clear(struct punch *punch)
{
	punch->n = 0;
}

void punch_add(struct punch *punch, void *at, uint64_t bytes)
{
	if (punch->n < PUNCH_RUNS)
		punch->runs[punch->n] = (struct punch_run){ .at = at, .bytes = bytes };
	punch->n++;
}

int punch_begin(struct punch *punch)
{
	int r = punch->pidfd >= 0 ? -EBUSY : punch->n > PUNCH_RUNS ? -E2BIG : make_room(punch);

	if (r < 0)
		return r;
	if (clone(punch_alone, (char *)punch->room + ROOM_BYTES, CLONE_VM | CLONE_FILES | CLONE_PIDFD, punch,
		  &punch->pidfd) >= 0)
		return 0;
	punch->pidfd = -1;
	return -errno;
}

int punch_wait(struct punch *punch, uint64_t ns)
{
	const struct timespec t = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
	struct pollfd ended = { .fd = punch->pidfd, .events = POLLIN };
	siginfo_t info = { 0 };
	int r;

	if (punch->pidfd < 0)
		return -ECHILD;
	do
		r = ppoll(&ended, 1, &t, NULL);
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return -ETIMEDOUT;
	waitid(P_PIDFD, (id_t)punch->pidfd, &info, WEXITED | __WALL);
	close(punch->pidfd);
	punch->pidfd = -1;
	return info.si_code == CLD_EXITED && info.si_status == 0;
}
