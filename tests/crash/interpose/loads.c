/* SPDX-License-Identifier: MIT */
/*
 * loads.c - owns the note of each word that the daemon it is linked to loads, of its own functions; HEAPD_LOADS names the file.
 *
 * Right because a page's entry is claimed by a swap and found by its address afterwards, and bits are only ever set. Which
 * file is mapped there is looked up once, at the first load: what clients write to stays where it is, or is another session's.
 */
#include "loads.h"

#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* One program's, as what is called at each load is. */
static struct loads_page *pages;

/* Whether that line of a process's maps is the page's. */
static bool line_is_of(const char *line, struct loads_page *p)
{
	uint64_t begin, end, offset, inode, at = p->page * 4096;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %" SCNu64, &begin, &end, &offset,
		   &inode) != 4)
		return false;
	if (at < begin || at >= end)
		return false;
	p->offset = offset + (at - begin);
	__atomic_store_n(&p->inode, inode, __ATOMIC_RELEASE);
	return true;
}

static void file_find(struct loads_page *p)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];

	while (maps && fgets(line, sizeof(line), maps) && !line_is_of(line, p))
		;
	if (maps)
		fclose(maps);
}

/* The page's entry, its own by a swap if there was none. */
static struct loads_page *page_of(uint64_t page)
{
	uint64_t first = page * UINT64_C(0x9e3779b97f4a7c15) >> 32;

	for (uint64_t i = 0; i < LOADS_PAGES; i++) {
		struct loads_page *p = &pages[(first + i) % LOADS_PAGES];
		uint64_t there = __atomic_load_n(&p->page, __ATOMIC_RELAXED);

		if (!there && __atomic_compare_exchange_n(&p->page, &there, page, false, __ATOMIC_RELAXED,
							  __ATOMIC_RELAXED)) {
			file_find(p);
			return p;
		}
		if (there == page)
			return p;
	}
	errx(1, "it loads from more than %u pages", LOADS_PAGES);
}

static void load(const volatile void *address)
{
	uint64_t at = (uint64_t)(uintptr_t)address, word = at / 8 % LOADS_WORDS,
		 bit = UINT64_C(1) << word % 64;

	if (!pages)
		return;
	uint64_t *words = &page_of(at / 4096)->words[word / 64];

	if (!(__atomic_load_n(words, __ATOMIC_RELAXED) & bit))
		__atomic_fetch_or(words, bit, __ATOMIC_RELAXED);
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("HEAPD_LOADS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p;

	if (!path)
		return;
	p = mmap(NULL, LOADS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || p == MAP_FAILED)
		err(1, "%s", path);
	pages = p;
	close(fd);
}

#define ACCESS_LOAD(at, n, place)  ((void)(n), load(at))
#define ACCESS_STORE(at, n, place) ((void)(at), (void)(n))
#define ACCESS_ENTER(pc)           ((void)(pc))
#define ACCESS_LEAVE()             ((void)0)
#include "../../accesses.h"
