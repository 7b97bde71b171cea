/* SPDX-License-Identifier: MIT */
/*
 * collapser.c - owns the process that makes huge pages.
 *
 * Before the kernel takes memory together (MADV_COLLAPSE) it has a worker on each processor empty its lists of pages, and waits for them
 * all, with the address space of who asked locked for reading. On a busy machine that took up to two seconds; any mmap() or munmap() in the
 * daemon waited for that, with them whoever touched a page first, and, where one of those held a heap's lock, every client. So a process with an address space of
 * its own asks. What it changes is the memory file, which is everybody's.
 *
 * It is a child that has left everything of ours: all files but its socket, since clients see by theirs that we are gone; and all
 * memory but the heap, its stack, and the page or two that it runs in, or memory that we give back would stay. It
 * runs nothing of the C library, and is no more registered for restartable sequences, whose memory it has no more. It ends when its socket's other
 * end is closed, and so with us. It holds no lock of ours. Should it not be there, a heap has small pages.
 */
#include "collapser.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alone.h"
#include "heapd/layout.h"

#define PAGE       4096ul
#define STACK      (64ul << 10) /* that the process has of the thread's that made it, to both sides */
#define RUNS_IN    "heapd_collapser"
#define RSEQ_BYTES 32 /* as the C library registers it */
#define TOP_SHIFT  47 /* of an address space, less a page */

/* The process ------------------------------------------------------------------------------------------------- */

struct range {
	uint64_t begin, end;
};

/* The linker's: where the section begins and ends. */
extern const char __start_heapd_collapser[]; /* NOLINT(bugprone-reserved-identifier) */
extern const char __stop_heapd_collapser[];  /* NOLINT(bugprone-reserved-identifier) */

static inline ALONE __attribute__((always_inline)) void range_swap(struct range *a, struct range *b)
{
	struct range swap = *a;

	*a = *b;
	*b = swap;
}

/* All memory but these three ranges. */
static inline ALONE __attribute__((always_inline)) bool leave_all_but(struct range keep[3])
{
	uint64_t from = 0;

	if (keep[0].begin > keep[1].begin)
		range_swap(&keep[0], &keep[1]);
	if (keep[1].begin > keep[2].begin)
		range_swap(&keep[1], &keep[2]);
	if (keep[0].begin > keep[1].begin)
		range_swap(&keep[0], &keep[1]);
	for (unsigned i = 0; i < 3; i++) {
		if (keep[i].begin > from &&
		    call(SYS_munmap, (long)from, (long)(keep[i].begin - from), 0, 0) < 0)
			return false;
		from = keep[i].end > from ? keep[i].end : from;
	}
	return from >= (1ul << TOP_SHIFT) - PAGE ||
	       call(SYS_munmap, (long)from, (long)((1ul << TOP_SHIFT) - PAGE - from), 0, 0) == 0;
}

/* A chunk of which nothing is there has one small page first: then the rest of it is not looked for. */
static inline ALONE __attribute__((always_inline)) long collapse(uint64_t at)
{
	long r = call(SYS_madvise, (long)at, PAGE, MADV_POPULATE_WRITE, 0);

	return r < 0 ? r : call(SYS_madvise, (long)at, HEAPD_CHUNK_SIZE, MADV_COLLAPSE, 0);
}

/* With all signals blocked. */
static ALONE __attribute__((noinline, noreturn, section(RUNS_IN))) void serve(long fd, uint64_t base,
									      uint64_t size, long rseq,
									      long rseq_size)
{
	uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0) & ~(PAGE - 1), at = 0;
	struct range keep[3] = {
		{ base, base + size },
		{ here - STACK, here + STACK },
		{ (uint64_t)(uintptr_t)__start_heapd_collapser & ~(PAGE - 1),
		  ((uint64_t)(uintptr_t)__stop_heapd_collapser + PAGE - 1) & ~(PAGE - 1) },
	};
	bool alone;

	alone = call(SYS_close_range, fd + 1, UINT32_MAX, 0, 0) == 0 &&
		(!fd || call(SYS_close_range, 0, fd - 1, 0, 0) == 0) &&
		(!rseq_size || call(SYS_rseq, rseq, rseq_size, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0) &&
		leave_all_but(keep);
	while (alone && call(SYS_read, fd, (long)(uintptr_t)&at, sizeof(at), 0) == sizeof(at)) {
		long r = collapse(at);

		alone = call(SYS_write, fd, (long)(uintptr_t)&r, sizeof(r), 0) == sizeof(r);
	}
	for (;;)
		call(SYS_exit_group, 0, 0, 0, 0);
}

/* ------------------------------------------------------------------------------------------------------------- */

void collapser_init(struct collapser *collapser, uint64_t base, uint64_t size)
{
	*collapser = (struct collapser){ .base = base, .size = size, .fd = -1 };
}

/*
 * As fork(), but that nothing of the C library's is told, and nobody is sent a signal when it ends. Nor does it belong to whoever traces us,
 * who would have to wait for it before we can.
 */
static pid_t part(const struct collapser *c, int fd)
{
	long rseq = (long)(uintptr_t)__builtin_thread_pointer() + __rseq_offset;
	sigset_t all, before;
	long pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = syscall(SYS_clone, CLONE_UNTRACED, 0, 0, 0, 0);
	if (pid == 0)
		serve(fd, c->base, c->size, rseq, __rseq_size ? RSEQ_BYTES : 0);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return (pid_t)pid;
}

int collapser_start(struct collapser *collapser)
{
	int fds[2], r = 0;

	if (collapser->fd >= 0)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	collapser->pid = part(collapser, fds[1]);
	if (collapser->pid < 0)
		r = -errno;
	close(fds[1]);
	if (r == 0)
		collapser->fd = fds[0];
	else
		close(fds[0]);
	return r;
}

void collapser_stop(struct collapser *collapser)
{
	siginfo_t info;

	if (collapser->fd < 0)
		return;
	close(collapser->fd);
	collapser->fd = -1;
	kill(collapser->pid, SIGKILL);
	while (waitid(P_PID, (id_t)collapser->pid, &info, WEXITED | __WALL) < 0 && errno == EINTR)
		;
}

int collapser_ask(struct collapser *collapser, uint64_t at)
{
	int64_t answer;
	int r = collapser_start(collapser);

	if (r < 0)
		return r;
	if (send(collapser->fd, &at, sizeof(at), MSG_NOSIGNAL) == sizeof(at) &&
	    recv(collapser->fd, &answer, sizeof(answer), 0) == sizeof(answer))
		return (int)answer;
	collapser_stop(collapser);
	return -ECHILD;
}
