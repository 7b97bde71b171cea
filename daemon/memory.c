/* SPDX-License-Identifier: MIT */
/*
 * memory.c - owns how memory files come to be.
 *
 * Right because size and seals are fixed before a descriptor can leave the daemon: whoever maps the file can
 * rely on its length, so no access inside it ends in SIGBUS because somebody cut it. F_SEAL_FUTURE_WRITE is
 * not used: the daemon itself could not map the file anew. Mode 0600 does its work instead: a descriptor
 * opened for reading cannot be opened again for writing by another user.
 */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define MEMORY_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int create_named(const char *name, unsigned flags)
{
	int fd = memfd_create(name, flags | MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	/* Kernels before 6.3 do not know MFD_NOEXEC_SEAL. */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, flags | MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

int memory_create(const char *label, uint64_t bytes, unsigned flags)
{
	char name[128];
	int fd, r;

	snprintf(name, sizeof(name), "heapd:%s", label);
	fd = create_named(name, flags);
	if (fd < 0)
		return fd;
	if (fchmod(fd, 0600) == 0 && ftruncate(fd, (off_t)bytes) == 0 &&
	    fcntl(fd, F_ADD_SEALS, MEMORY_SEALS) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

int memory_open_readonly(int fd)
{
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (r >= 0)
		fcntl(r, F_SETFL, 0);
	return r < 0 ? -errno : r;
}
