/* SPDX-License-Identifier: MIT */
/*
 * What stores for the daemon, and what moves its memory: the compiler's calls before each store, and functions of libc's, put in place of
 * those by the linker (--wrap). Each tells the tape, and does what it is for.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/punch.h"
#include "heapd/atomic.h"
#include "images_hooks.h"
#include "images_maps.h"
#include "images_tape.h"

#define ACCESS_LOAD(at, n, place)  ((void)(at), (void)(n))
#define ACCESS_STORE(at, n, place) tape_note(at, n, place)
#define ACCESS_ENTER(pc)           ((void)(pc))
#define ACCESS_LEAVE()             ((void)0)
#include "../accesses.h"

/* Both words in one instruction: no process dies between the two, so they are one moment (the second is no image of its own). */
bool images_pair_cas(struct heapd_pair *p, struct heapd_pair *expected, struct heapd_pair desired)
{
	tape_note_pair(p, ACCESS_PLACE);
	return heapd_pair_cas(p, expected, desired);
}

/* libc's --------------------------------------------------------------------------------------------------------------- */

void *__real_memset(void *at, int byte, size_t n);
void *__wrap_memset(void *at, int byte, size_t n)
{
	tape_note(at, n, ACCESS_PLACE);
	return __real_memset(at, byte, n);
}

void *__real_memcpy(void *to, const void *from, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n)
{
	tape_note(to, n, ACCESS_PLACE);
	return __real_memcpy(to, from, n);
}

void *__real_memmove(void *to, const void *from, size_t n);
void *__wrap_memmove(void *to, const void *from, size_t n)
{
	tape_note(to, n, ACCESS_PLACE);
	return __real_memmove(to, from, n);
}

static bool is_whole_file(int protection, int flags, int fd, off_t offset)
{
	return fd >= 0 && flags & MAP_SHARED && protection & PROT_WRITE && !offset;
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	struct stat s;
	void *p;

	/* The range of a heap is reserved still. */
	if (fd < 0 && at && maps_any(at, bytes))
		return at;
	if (!is_whole_file(protection, flags, fd, offset) || fstat(fd, &s) < 0)
		return __real_mmap(at, bytes, protection, flags, fd, offset);
	p = maps_file(at, bytes, flags, fd, s.st_ino);
	if (p == MAP_FAILED)
		return p;
	tape_file(fd, (uint64_t)s.st_size);
	tape_map(p, bytes, fd);
	return p;
}

int __wrap_munmap(void *at, size_t bytes)
{
	tape_unmap(at, bytes);
	return maps_leave(at, bytes) ? 0 : __real_munmap(at, bytes);
}

/*
 * The process that punches (punch.c; where the compiler is asked for -fsanitize=thread the function is called so): what it takes away page by page is taken away here, so that each step is on the tape; and it
 * has come back when its daemon goes on, however busy the machine is.
 */
int __real___clone(int (*run)(void *arg), void *stack, int flags, void *arg, ...);
int __wrap___clone(int (*run)(void *arg), void *stack, int flags, void *arg, ...)
{
	const struct punch *punch = arg;
	va_list args;
	int *pidfd, r;

	va_start(args, arg);
	pidfd = va_arg(args, int *);
	va_end(args);
	for (uint32_t i = 0; i < punch->n; i++) {
		uint64_t *words = punch->runs[i].at;

		for (uint64_t w = 0; w < punch->runs[i].bytes / 8; w++)
			if (words[w])
				tape_store(&words[w], 0, 8);
	}
	r = __real___clone(run, stack, flags, arg, pidfd);
	if (r >= 0)
		poll(&(struct pollfd){ .fd = *pidfd, .events = POLLIN }, 1, -1);
	return r;
}

ssize_t __real_getrandom(void *at, size_t n, unsigned flags);

/* The daemon's random numbers are the same each time; those of who has not begun with a seed are not. */
static uint64_t random_state;

void hooks_begin(uint64_t seed)
{
	random_state = seed | 1;
}

ssize_t __wrap_getrandom(void *at, size_t n, unsigned flags)
{
	unsigned char *bytes = at;

	if (!random_state)
		return __real_getrandom(at, n, flags);
	tape_note(at, n, ACCESS_PLACE);
	for (size_t i = 0; i < n; i++) {
		random_state ^= random_state << 13;
		random_state ^= random_state >> 7;
		random_state ^= random_state << 17;
		bytes[i] = (unsigned char)(random_state >> 32);
	}
	return (ssize_t)n;
}

/* A clock that says the same each time, so that all else does. */
static uint64_t now = 1000000000;

void hooks_pass(uint64_t ns)
{
	now += ns;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
	(void)id;
	now += 1000;
	*t = (struct timespec){ (time_t)(now / 1000000000), (long)(now % 1000000000) };
	return 0;
}
