/* SPDX-License-Identifier: MIT */
/*
 * Owns mappings that outlive the daemon that made them. Nothing of what they show depends on who made them: they are of files, shared.
 */
#include "images_maps.h"

#include <err.h>
#include <stdint.h>
#include <sys/mman.h>

#include "heapd/layout.h"

#define KEPT     512u
#define INO_NONE UINT64_MAX /* of no file */

struct kept_map {
	char *at;
	size_t bytes;
	ino_t inode; /* 0: none */
	bool used;
};

static struct kept_maps {
	struct kept_map all[KEPT];
	unsigned high;
} maps;

static bool lies_in(const struct kept_map *map, const char *at, size_t bytes)
{
	return map->inode && map->at >= at && map->at + map->bytes <= at + bytes;
}

static struct kept_map *find(const void *at, size_t bytes, ino_t inode)
{
	for (unsigned i = 0; i < maps.high; i++) {
		struct kept_map *map = &maps.all[i];

		if (map->inode == inode && map->bytes == bytes && !map->used && (!at || map->at == at))
			return map;
	}
	return NULL;
}

static struct kept_map *room(void)
{
	for (unsigned i = 0; i < KEPT; i++) {
		if (maps.all[i].inode)
			continue;
		maps.high = i < maps.high ? maps.high : i + 1;
		return &maps.all[i];
	}
	errx(1, "more than %u mappings", KEPT);
}

void *maps_file(void *at, size_t bytes, int flags, int fd, ino_t inode)
{
	struct kept_map *map = find(at, bytes, inode);
	void *p;

	if (map) {
		map->used = true;
		return map->at;
	}
	p = __real_mmap(at, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (p == MAP_FAILED)
		return p;
	for (unsigned i = 0; at && i < maps.high; i++)
		if (lies_in(&maps.all[i], at, bytes))
			maps.all[i].inode = 0;
	*room() = (struct kept_map){ p, bytes, inode, true };
	return p;
}

bool maps_any(const void *at, size_t bytes)
{
	for (unsigned i = 0; i < maps.high; i++)
		if (lies_in(&maps.all[i], at, bytes))
			return true;
	return false;
}

bool maps_leave(void *at, size_t bytes)
{
	bool any = false;

	for (unsigned i = 0; i < maps.high; i++) {
		if (!lies_in(&maps.all[i], at, bytes))
			continue;
		maps.all[i].used = false;
		any = true;
	}
	return any;
}

void maps_forget(ino_t inode)
{
	for (unsigned i = 0; i < maps.high; i++) {
		struct kept_map *map = &maps.all[i];

		if (map->inode != inode)
			continue;
		if ((uintptr_t)map->at < HEAPD_BASE_MAX)
			__real_mmap(map->at, map->bytes, PROT_NONE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		else
			__real_munmap(map->at, map->bytes);
		/* An address in a heap stays ours: the next heap lies there. */
		*map = (struct kept_map){ map->at, map->bytes,
					  (uintptr_t)map->at < HEAPD_BASE_MAX ? INO_NONE : 0, false };
	}
}
