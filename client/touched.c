/* SPDX-License-Identifier: MIT */
/*
 * touched.c - owns what the kernel says of this process's pages: /proc/self/pagemap, which each process may read of itself (without
 * the places in memory, which nobody here asks for), has a word for each page, mapped or not, with a bit for what is
 * present, and one for what was swapped out. A scan goes through it while its thread waits: so many words at a time.
 */
#include "touched.h"

#include <fcntl.h>
#include <unistd.h>

void touched_begin(struct touched *t)
{
	t->fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

void touched_end(const struct touched *t)
{
	if (t->fd >= 0)
		close(t->fd);
}

uint64_t touched_look(struct touched *t, uint64_t address)
{
	off_t at = (off_t)(address / (uint64_t)getpagesize() * 8);
	ssize_t n = t->fd < 0 ? -1 : pread(t->fd, t->entries, sizeof(t->entries), at);

	return n < 8 ? 0 : (uint64_t)n / 8;
}
