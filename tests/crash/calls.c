/* SPDX-License-Identifier: MIT */
/*
 * calls.c - owns the calls that fail.
 *
 * A program's own functions come before the C library's, for the library under test, too. Each here does what is
 * wanted of it by the system call itself, or by the C library's other name for it, so nothing has to be looked up first.
 */
#include "calls.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of this process: an operation's own. */
static struct {
	unsigned nth, uses;
	int error;
	unsigned met;
	void (*first)(void);
} wrong[CALLS];

void calls_fail(enum call call, unsigned nth, unsigned uses, int error)
{
	wrong[call].uses = uses;
	wrong[call].error = error;
	/* Last: as for calls_meet(). */
	__atomic_store_n(&wrong[call].nth, uses ? nth : 0, __ATOMIC_RELEASE);
}

void calls_meet(enum call call, unsigned nth, void (*first)(void))
{
	/* Before, and never taken away: another thread of this process, such as the agent, may be in such a call just now. */
	if (first)
		__atomic_store_n(&wrong[call].first, first, __ATOMIC_RELAXED);
	__atomic_store_n(&wrong[call].met, nth, __ATOMIC_RELEASE);
}

/* Whether this is the use that was to be met at: of one of those who make it. */
static bool meets(enum call call)
{
	unsigned met = __atomic_load_n(&wrong[call].met, __ATOMIC_ACQUIRE);

	while (met && !__atomic_compare_exchange_n(&wrong[call].met, &met, met - 1, false, __ATOMIC_ACQUIRE,
						   __ATOMIC_ACQUIRE))
		;
	return met == 1;
}

static bool fails(enum call call)
{
	if (meets(call))
		__atomic_load_n(&wrong[call].first, __ATOMIC_RELAXED)();
	if (!wrong[call].nth)
		return false;
	if (wrong[call].nth > 1) {
		wrong[call].nth--;
		return false;
	}
	if (--wrong[call].uses == 0)
		wrong[call].nth = 0;
	errno = wrong[call].error;
	return true;
}

/* The kernel's answer, as the C library has it. */
static long done(long answer)
{
	if (answer >= 0 || answer < -4095)
		return answer;
	errno = (int)-answer;
	return -1;
}

static long kernel(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long answer;

	__asm__ volatile("syscall"
			 : "=a"(answer)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return done(answer);
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t size)
{
	if (fails(CALL_CONNECT))
		return -1;
	return (int)kernel(SYS_connect, fd, (long)address.__sockaddr__, size, 0, 0, 0);
}

int dup3(int from, int to, int flags)
{
	return fails(CALL_DUP) ? -1 : (int)kernel(SYS_dup3, from, to, flags, 0, 0, 0);
}

int eventfd(unsigned count, int flags)
{
	return fails(CALL_EVENTFD) ? -1 : (int)kernel(SYS_eventfd2, count, flags, 0, 0, 0, 0);
}

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	if (fails(CALL_MMAP))
		return MAP_FAILED;
	return (void *)kernel(SYS_mmap, (long)at, (long)bytes, protection, flags, fd, offset);
}

int madvise(void *at, size_t bytes, int advice)
{
	return fails(CALL_MADVISE) ? -1 : (int)kernel(SYS_madvise, (long)at, (long)bytes, advice, 0, 0, 0);
}

int mprotect(void *at, size_t bytes, int protection)
{
	return fails(CALL_MPROTECT) ? -1
				    : (int)kernel(SYS_mprotect, (long)at, (long)bytes, protection, 0, 0, 0);
}

int open(const char *path, int flags, ...)
{
	va_list args;
	int mode;

	va_start(args, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;
	va_end(args);
	return fails(CALL_OPEN) ? -1 : (int)kernel(SYS_openat, AT_FDCWD, (long)path, flags, mode, 0, 0);
}

int pipe2(int ends[2], int flags)
{
	return fails(CALL_PIPE) ? -1 : (int)kernel(SYS_pipe2, (long)ends, flags, 0, 0, 0, 0);
}

int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct timespec left = timeout ? *timeout : (struct timespec){ 0 };

	if (fails(CALL_POLL))
		return -1;
	return (int)kernel(SYS_ppoll, (long)fds, (long)n, timeout ? (long)&left : 0, (long)mask, 8, 0);
}

ssize_t pread(int fd, void *bytes, size_t n, off_t offset)
{
	return fails(CALL_PREAD) ? -1 : kernel(SYS_pread64, fd, (long)bytes, (long)n, offset, 0, 0);
}

static struct {
	unsigned nth;
	void (*change)(void *message);
	unsigned brings;
} answer;

void calls_answer(unsigned nth, void (*change)(void *message))
{
	answer.nth = nth;
	answer.change = change;
}

void calls_bring(unsigned nth)
{
	answer.brings = nth;
}

static void bring(struct msghdr *h)
{
	struct cmsghdr *c = h->msg_control;
	int fd = dup(0);

	*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(fd)),
			       .cmsg_level = SOL_SOCKET,
			       .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	h->msg_controllen = CMSG_SPACE(sizeof(fd));
}

ssize_t recvmsg(int fd, struct msghdr *h, int flags)
{
	ssize_t n = fails(CALL_RECEIVE) ? -1 : kernel(SYS_recvmsg, fd, (long)h, flags, 0, 0, 0);

	if (n > 0 && answer.nth && --answer.nth == 0)
		answer.change(h->msg_iov->iov_base);
	if (n > 0 && answer.brings && --answer.brings == 0)
		bring(h);
	return n > 8 && fails(CALL_SHORT) ? n - 8 : n;
}

ssize_t recv(int fd, void *bytes, size_t n, int flags)
{
	return fails(CALL_NOTE) ? -1 : kernel(SYS_recvfrom, fd, (long)bytes, (long)n, flags, 0, 0);
}

int eventfd_write(int fd, eventfd_t value)
{
	return fails(CALL_KICK) || kernel(SYS_write, fd, (long)&value, sizeof(value), 0, 0, 0) < 0 ? -1 : 0;
}

ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
	return fails(CALL_HELLO) ? -1 : kernel(SYS_sendto, fd, (long)bytes, (long)n, flags, 0, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *h, int flags)
{
	return fails(CALL_SEND) ? -1 : kernel(SYS_sendmsg, fd, (long)h, flags, 0, 0, 0);
}

int socket(int domain, int type, int protocol)
{
	return fails(CALL_SOCKET) ? -1 : (int)kernel(SYS_socket, domain, type, protocol, 0, 0, 0);
}

long syscall(long number, ...)
{
	long a[6];
	va_list args;

	va_start(args, number);
	for (unsigned i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	return fails(CALL_SYSCALL) ? -1 : kernel(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int __sigaction(int number, const struct sigaction *new, struct sigaction *old);

int sigaction(int number, const struct sigaction *new, struct sigaction *old)
{
	return fails(CALL_SIGACTION) ? -1 : __sigaction(number, new, old);
}

/* Of what is no system call, and has no other name: the next one of that name, which is the C library's. */
static void *next(void **known, const char *name)
{
	if (!*known)
		*known = dlsym(RTLD_NEXT, name);
	return *known;
}

FILE *fopen(const char *path, const char *how)
{
	static void *known;
	FILE *(*open_file)(const char *, const char *);

	*(void **)&open_file = next(&known, "fopen");
	return fails(CALL_FOPEN) ? NULL : open_file(path, how);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	static void *known;
	int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	*(void **)&create = next(&known, "pthread_create");
	return fails(CALL_THREAD) ? errno : create(thread, attr, start, arg);
}

int pthread_attr_init(pthread_attr_t *attr)
{
	static void *known;
	int (*init)(pthread_attr_t *);

	*(void **)&init = next(&known, "pthread_attr_init");
	return fails(CALL_ATTRIBUTES) ? errno : init(attr);
}

int pthread_attr_setstacksize(pthread_attr_t *attr, size_t bytes)
{
	static void *known;
	int (*set)(pthread_attr_t *, size_t);

	*(void **)&set = next(&known, "pthread_attr_setstacksize");
	return fails(CALL_STACK) ? errno : set(attr, bytes);
}

int pthread_setspecific(pthread_key_t key, const void *value)
{
	static void *known;
	int (*set)(pthread_key_t, const void *);

	*(void **)&set = next(&known, "pthread_setspecific");
	return fails(CALL_SPECIFIC) ? errno : set(key, value);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);

void *malloc(size_t bytes)
{
	return fails(CALL_MEMORY) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
	return fails(CALL_MEMORY) ? NULL : __libc_calloc(n, bytes);
}
#endif
