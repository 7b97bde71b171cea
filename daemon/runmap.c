/* SPDX-License-Identifier: MIT */
/*
 * First fit over a bitmap, with a bound for each group of units on the runs that begin in it, so that
 * full groups are skipped at one comparison (the idea of Go's page allocator summary, one level of it).
 *
 * The bound is right because only giving back can make a run longer, and giving back resets the bounds
 * of every group in which the joined run can begin; a search that crosses a whole group without success
 * writes what it saw.
 */
#include "runmap.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include "bits.h"

#define GROUP_UNITS 8192u
#define UNKNOWN     UINT32_MAX

static void *sparse_map(uint64_t bytes)
{
	void *p =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static uint64_t words_of(uint64_t units)
{
	return (units + 63) / 64;
}

int runmap_init(struct runmap *map, uint64_t units)
{
	uint64_t groups = (units + GROUP_UNITS - 1) / GROUP_UNITS;

	*map = (struct runmap){ .units = units, .groups = groups, .free = units };
	map->bits = sparse_map(words_of(units) * 8);
	map->bound = sparse_map(groups * sizeof(*map->bound));
	if (!map->bits || !map->bound) {
		runmap_deinit(map);
		return -ENOMEM;
	}
	/* Stored inverted in memory would save touching it; a heap of 1 TiB costs 16 MiB here, once. */
	for (uint64_t i = 0; i < units / 64; i++)
		map->bits[i] = UINT64_MAX;
	if (units % 64)
		map->bits[units / 64] = (1ull << (units % 64)) - 1;
	for (uint64_t g = 0; g < groups; g++)
		map->bound[g] = UNKNOWN;
	return 0;
}

void runmap_deinit(struct runmap *map)
{
	if (map->bits)
		munmap(map->bits, words_of(map->units) * 8);
	if (map->bound)
		munmap(map->bound, map->groups * sizeof(*map->bound));
	*map = (struct runmap){ 0 };
}

bool runmap_is_free(const struct runmap *map, uint64_t at)
{
	return map->bits[at / 64] >> (at % 64) & 1;
}

static void set_run(struct runmap *map, uint64_t at, uint64_t n, bool free)
{
	while (n) {
		uint64_t shift = at % 64, here = 64 - shift < n ? 64 - shift : n;
		uint64_t mask = (here == 64 ? UINT64_MAX : (1ull << here) - 1) << shift;

		if (free)
			map->bits[at / 64] |= mask;
		else
			map->bits[at / 64] &= ~mask;
		at += here;
		n -= here;
	}
}

static uint64_t align_up(uint64_t n, uint64_t align)
{
	return (n + align - 1) / align * align;
}

/*
 * Looks for a run that begins in group g: its first unit, or map->units. Writes the group's bound if
 * the whole group was seen without success. Runs may reach into later groups; looking stops at n units.
 */
static uint64_t search_group(struct runmap *map, uint64_t g, uint64_t n, uint64_t align)
{
	uint64_t at = g * GROUP_UNITS, end = at + GROUP_UNITS, longest = 0;

	if (end > map->units)
		end = map->units;
	while ((at = bits_next(map->bits, at, end, true)) < end) {
		uint64_t begin = align_up(at, align), limit = begin + n;
		uint64_t stop = bits_next(map->bits, at, limit < map->units ? limit : map->units, false);

		if (stop >= limit)
			return begin;
		if (stop - at > longest)
			longest = stop - at;
		at = stop;
	}
	map->bound[g] = longest < UNKNOWN ? (uint32_t)longest : UNKNOWN;
	return map->units;
}

int runmap_take(struct runmap *map, uint64_t n, uint64_t align, uint64_t *at)
{
	uint64_t found = map->units;

	if (!n || n > map->free)
		return -ENOSPC;
	for (uint64_t g = 0; g < map->groups && found == map->units; g++)
		if (map->bound[g] == UNKNOWN || map->bound[g] >= n)
			found = search_group(map, g, n, align ? align : 1);
	if (found == map->units)
		return -ENOSPC;
	set_run(map, found, n, false);
	map->free -= n;
	if (found + n > map->high)
		map->high = found + n;
	*at = found;
	return 0;
}

/* A search of a group begins with its first unit, wherever the run began: so the bound is one for what is left of that, too. */
static bool group_is_short(const struct runmap *map, uint64_t at, uint64_t n)
{
	uint32_t bound = map->bound[at / GROUP_UNITS];

	return bound != UNKNOWN && bound < n;
}

uint64_t runmap_next(const struct runmap *map, uint64_t from, uint64_t end, uint64_t n, uint64_t *at)
{
	while (from < end) {
		uint64_t border = (from / GROUP_UNITS + 1) * GROUP_UNITS, stop;

		if (border > end)
			border = end;
		from = group_is_short(map, from, n) ? border : bits_next(map->bits, from, border, true);
		if (from == border)
			continue;
		stop = bits_next(map->bits, from, end, false);
		if (stop - from >= n) {
			*at = from;
			return stop - from;
		}
		from = stop;
	}
	return 0;
}

int runmap_claim(struct runmap *map, uint64_t at, uint64_t n)
{
	if (at > map->units || n > map->units - at || bits_next(map->bits, at, at + n, false) < at + n)
		return -EBUSY;
	set_run(map, at, n, false);
	map->free -= n;
	if (at + n > map->high)
		map->high = at + n;
	return 0;
}

void runmap_give(struct runmap *map, uint64_t at, uint64_t n)
{
	uint64_t g = at / GROUP_UNITS;

	set_run(map, at, n, true);
	map->free += n;
	for (uint64_t i = g; i <= (at + n - 1) / GROUP_UNITS; i++)
		map->bound[i] = UNKNOWN;
	/* A run that begins in an earlier group and ended at this group's border is longer now. */
	while (g > 0 && runmap_is_free(map, g * GROUP_UNITS - 1)) {
		map->bound[--g] = UNKNOWN;
		if (!runmap_is_free(map, g * GROUP_UNITS))
			break;
	}
}
