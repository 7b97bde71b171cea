/* SPDX-License-Identifier: MIT */
/*
 * A process that holds the lock of a file's inode for good: it writes to it out of memory that it never provides. A child of its own tells when:
 * a thread cannot be made in the child of a process with several, where AddressSanitizer may have been forked with a lock held.
 */
#ifndef HEAPD_TESTS_STUCK_H
#define HEAPD_TESTS_STUCK_H

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

struct stuck {
	int faults, tell;
};

/* The fault comes while the lock is held, and is not answered. */
static inline void stuck_tell(const struct stuck *s)
{
	struct uffd_msg fault;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(s->faults, &fault, sizeof(fault)) == (ssize_t)sizeof(fault) && write(s->tell, "h", 1) == 1)
		pause();
	_exit(1);
}

static inline void stuck_hold(int fd, off_t at, int tell)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct stuck s = { (int)syscall(SYS_userfaultfd, O_CLOEXEC), tell };
	void *never = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register r = { .range = { (unsigned long)never, 4096 },
				     .mode = UFFDIO_REGISTER_MODE_MISSING };
	pid_t teller;

	if (s.faults < 0 || ioctl(s.faults, UFFDIO_API, &api) < 0 ||
	    ioctl(s.faults, UFFDIO_REGISTER, &r) < 0 || (teller = fork()) < 0)
		_exit(1);
	if (teller == 0)
		stuck_tell(&s);
	if (pwrite(fd, never, 4096, at) < 0)
		_exit(1);
	_exit(0);
}

/* Returns once the lock is held; 0: this user cannot do it, which is said. To be killed. */
static inline pid_t stuck_start(const char *test, int fd, off_t at)
{
	pid_t parent = getpid(), pid;
	int pair[2];
	char held;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return 0;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		if (getppid() == parent)
			stuck_hold(fd, at, pair[1]);
		_exit(1);
	}
	close(pair[1]);
	if (pid > 0 && read(pair[0], &held, 1) != 1) {
		waitpid(pid, NULL, 0);
		pid = 0;
		printf("SKIP %s: needs a userfaultfd that takes the kernel's faults, too: root\n", test);
	}
	close(pair[0]);
	return pid;
}

static inline void stuck_end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

#endif
