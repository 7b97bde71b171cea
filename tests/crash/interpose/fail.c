/* SPDX-License-Identifier: MIT */
/*
 * fail.so - preloaded into a daemon: the nth use of memory, or of a call, fails.
 *
 * What is to fail stands in a file of one struct fail, named by HEAPD_FAIL, which the test maps, too. Only calls that the
 * daemon or its libraries make by name are counted, the process itself and its threads alike.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fail.h"

static struct fail *state;

__attribute__((constructor)) static void begin(void)
{
	const char *name = getenv("HEAPD_FAIL");
	int fd = name ? (int)syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC) : -1;
	void *p;

	if (fd < 0)
		return;
	p = (void *)syscall(SYS_mmap, NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	syscall(SYS_close, fd);
	if (p != MAP_FAILED)
		state = p;
}

static bool fails(enum fail_kind kind)
{
	uint32_t n;

	if (!state || state->kind != kind)
		return false;
	n = __atomic_add_fetch(&state->count, 1, __ATOMIC_RELAXED);
	if (!state->at || (state->for_good ? n < state->at : n != state->at))
		return false;
	errno = kind == FAIL_MEMORY ? ENOMEM : state->error;
	return true;
}

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n)
{
	return fails(FAIL_MEMORY) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return fails(FAIL_MEMORY) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return fails(FAIL_MEMORY) ? NULL : __libc_realloc(p, n);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	return realloc(p, bytes);
}

/* NEXT(type, name, parameters, arguments, what it returns when it fails) */
#define NEXT(type, name, parameters, arguments, failed)              \
	type name parameters                                         \
	{                                                            \
		static type(*next) parameters;                       \
                                                                     \
		if (!next)                                           \
			*(void **)&next = dlsym(RTLD_NEXT, #name);   \
		return fails(FAIL_CALL) ? (failed) : next arguments; \
	}

NEXT(int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags), -1)
NEXT(int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n), -1)
NEXT(int, chmod, (const char *path, mode_t mode), (path, mode), -1)
NEXT(int, fchmod, (int fd, mode_t mode), (fd, mode), -1)
NEXT(int, fstat, (int fd, struct stat *st), (fd, st), -1)
NEXT(int, ftruncate, (int fd, off_t n), (fd, n), -1)
NEXT(ssize_t, getrandom, (void *p, size_t n, unsigned flags), (p, n, flags), -1)
NEXT(int, getsockopt, (int fd, int level, int what, void *p, socklen_t *n), (fd, level, what, p, n), -1)
NEXT(int, listen, (int fd, int n), (fd, n), -1)
NEXT(int, lstat, (const char *path, struct stat *st), (path, st), -1)
NEXT(int, madvise, (void *p, size_t n, int how), (p, n, how), -1)
NEXT(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1)
NEXT(int, mkdir, (const char *path, mode_t mode), (path, mode), -1)
NEXT(void *, mmap, (void *p, size_t n, int prot, int flags, int fd, off_t at), (p, n, prot, flags, fd, at),
     MAP_FAILED)
NEXT(ssize_t, pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at), -1)
NEXT(int, pthread_create, (pthread_t * thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg),
     (thread, attr, run, arg), EAGAIN)
NEXT(ssize_t, readlink, (const char *path, char *p, size_t n), (path, p, n), -1)
NEXT(ssize_t, recvmsg, (int fd, struct msghdr *h, int flags), (fd, h, flags), -1)
NEXT(ssize_t, sendmsg, (int fd, const struct msghdr *h, int flags), (fd, h, flags), -1)
NEXT(int, setsockopt, (int fd, int level, int what, const void *p, socklen_t n), (fd, level, what, p, n), -1)
NEXT(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1)
NEXT(int, socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds), -1)

/*
 * Without flags, and by read(), libevent learns of signals, and ends the program if it cannot: those do not fail. What else is
 * read so are a few files of /proc.
 */
ssize_t recv(int fd, void *p, size_t n, int flags)
{
	return flags && fails(FAIL_CALL) ? -1 : (ssize_t)syscall(SYS_recvfrom, fd, p, n, flags, NULL, NULL);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	return flags && fails(FAIL_CALL) ? -1 : (ssize_t)syscall(SYS_sendto, fd, p, n, flags, NULL, 0);
}

int open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if (flags & O_CREAT)
		mode = va_arg(args, mode_t);
	va_end(args);
	return fails(FAIL_CALL) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int fcntl(int fd, int command, ...)
{
	static int (*next)(int, int, ...);
	va_list args;
	void *arg;

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "fcntl");
	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	return fails(FAIL_CALL) ? -1 : next(fd, command, arg);
}
