/* SPDX-License-Identifier: MIT */
/* loaded.c - owns the memory that a daemon notes in what it loads, and what is made of that. */
#include "loaded.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define TRACED "crash/traced" /* the build */

bool loads_can(void)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	char path[4096];

	snprintf(path, sizeof(path), "%s/" TRACED, build ? build : "build");
	return access(path, X_OK) == 0;
}

void loads_begin(struct loads *loads)
{
	char path[64];

	loads->fd = memfd_create("loads", 0);
	if (loads->fd < 0 || ftruncate(loads->fd, LOADS_BYTES) < 0)
		err(1, "loads");
	loads->pages = mmap(NULL, LOADS_BYTES, PROT_READ, MAP_SHARED, loads->fd, 0);
	if (loads->pages == MAP_FAILED)
		err(1, "mmap");
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), loads->fd);
	setenv("HEAPD_LOADS", path, 1);
	setenv("HEAPD_TEST_DAEMON", TRACED, 1);
}

void loads_end(struct loads *loads)
{
	unsetenv("HEAPD_TEST_DAEMON");
	unsetenv("HEAPD_LOADS");
	munmap((void *)(uintptr_t)loads->pages, LOADS_BYTES);
	close(loads->fd);
}

void loads_take(const struct loads *loads, ino_t control, struct loaded *to)
{
	for (unsigned i = 0; i < LOADS_PAGES; i++) {
		const struct loads_page *page = &loads->pages[i];

		if (page->inode != control || page->offset / 8 >= LOADED_MOST)
			continue;
		for (unsigned j = 0; j < LOADS_WORDS / 64; j++)
			to->words[page->offset / 512 + j] |= page->words[j];
	}
}

bool loaded_has(const struct loaded *loaded, uint64_t word)
{
	return loaded->words[word / 64] >> word % 64 & 1;
}

unsigned loaded_count(const struct loaded *loaded)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LOADED_MOST / 64; i++)
		n += (unsigned)__builtin_popcountll(loaded->words[i]);
	return n;
}
