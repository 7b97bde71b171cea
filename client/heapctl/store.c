/* SPDX-License-Identifier: MIT */
/*
 * store.c - owns the files of large arrays. They have no name from the start, so nothing is left however heapctl ends.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static int file_make(void)
{
	const char *directory = secure_getenv("TMPDIR");
	int fd = open(directory && *directory ? directory : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd >= 0 ? fd : memfd_create("heapctl", MFD_CLOEXEC);
}

static void *file_map(int fd, uint64_t bytes)
{
	void *p;

	if (ftruncate(fd, (off_t)bytes) < 0)
		return NULL;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

void *store_make(struct store *store, uint64_t bytes)
{
	*store = (struct store){ .fd = file_make(), .bytes = bytes ? bytes : 1 };
	if (store->fd < 0)
		return NULL;
	store->at = file_map(store->fd, store->bytes);
	if (!store->at)
		store_free(store);
	return store->at;
}

void *store_grow(struct store *store, uint64_t bytes)
{
	void *p = file_map(store->fd, bytes);

	if (!p)
		return NULL;
	munmap(store->at, store->bytes);
	store->at = p;
	store->bytes = bytes;
	return p;
}

void store_free(struct store *store)
{
	int error = errno;

	if (store->at)
		munmap(store->at, store->bytes);
	if (store->fd > 0)
		close(store->fd);
	*store = (struct store){ .fd = -1 };
	errno = error;
}
