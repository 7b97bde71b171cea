/* SPDX-License-Identifier: MIT */
/*
 * account.c - owns the sum of all that the daemon committed.
 *
 * Right because taking is one compare-and-swap on the sum: two threads cannot both take what is left only
 * once, and a refusal leaves nothing behind.
 */
#include "account.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#define MIB        (UINT64_C(1) << 20)
#define MINOR_PART 4u /* of the reserve */

/* Of the unified hierarchy, and of version 1's memory controller. */
struct hierarchy {
	const char *mark; /* between the first and the second colon's end of its line */
	const char *mounts[2];
	const char *file;
};

static const struct hierarchy hierarchies[] = {
	{ "::", { "", "/unified" }, "memory.max" },
	{ ":memory:", { "/memory", "/memory" }, "memory.limit_in_bytes" },
};

/* "max", a number too large to read, or no such file: no maximum. */
static uint64_t read_maximum(const char *path)
{
	uint64_t maximum = UINT64_MAX;
	FILE *f = fopen(path, "re");

	if (!f)
		return maximum;
	if (fscanf(f, "%" SCNu64, &maximum) != 1)
		maximum = UINT64_MAX;
	fclose(f);
	return maximum;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The group is cut at each of its slashes, down to the root of the hierarchy. */
static uint64_t walk_up(const char *root, const char *mount, const char *group, const char *file)
{
	char path[PATH_MAX], cut[PATH_MAX];
	uint64_t maximum = UINT64_MAX;
	char *slash;

	snprintf(cut, sizeof(cut), "%s", strcmp(group, "/") == 0 ? "" : group);
	for (;;) {
		if (snprintf(path, sizeof(path), "%s%s%s/%s", root, mount, cut, file) < (int)sizeof(path))
			maximum = least(maximum, read_maximum(path));
		slash = strrchr(cut, '/');
		if (!slash)
			return maximum;
		*slash = '\0';
	}
}

/* A line is "number:controllers:group". */
static uint64_t line_maximum(const char *line, const char *root)
{
	uint64_t maximum = UINT64_MAX;
	const char *colon = strchr(line, ':');

	for (size_t h = 0; colon && h < sizeof(hierarchies) / sizeof(hierarchies[0]); h++) {
		const struct hierarchy *hierarchy = &hierarchies[h];
		size_t length = strlen(hierarchy->mark);

		if (strncmp(colon, hierarchy->mark, length) != 0)
			continue;
		for (size_t m = 0; m < 2; m++)
			maximum = least(maximum,
					walk_up(root, hierarchy->mounts[m], colon + length, hierarchy->file));
	}
	return maximum;
}

uint64_t account_cgroup_maximum(const char *file, const char *root)
{
	uint64_t maximum = UINT64_MAX;
	char *line = NULL;
	size_t size = 0;
	FILE *f = fopen(file, "re");

	if (!f)
		return maximum;
	while (getline(&line, &size, f) >= 0) {
		line[strcspn(line, "\n")] = '\0';
		maximum = least(maximum, line_maximum(line, root));
	}
	free(line);
	fclose(f);
	return maximum;
}

uint64_t account_less_reserve(uint64_t bytes)
{
	uint64_t reserve = bytes / 50;

	if (reserve < 64 * MIB)
		reserve = 64 * MIB;
	if (reserve > bytes / 2)
		reserve = bytes / 2;
	return bytes - reserve;
}

void account_init(struct account *account)
{
	struct sysinfo info;
	uint64_t memory = sysinfo(&info) == 0 ? (uint64_t)info.totalram * info.mem_unit : UINT64_MAX;

	memory = least(memory, account_cgroup_maximum("/proc/self/cgroup", "/sys/fs/cgroup"));
	account->maximum = account_less_reserve(memory);
	account->reserve = memory - account->maximum;
	atomic_init(&account->taken, 0);
	account_settle(account);
}

static int take(struct account *account, uint64_t bytes, uint64_t maximum)
{
	uint64_t taken = atomic_load_explicit(&account->taken, memory_order_relaxed);

	do {
		if (taken > maximum || bytes > maximum - taken)
			return -ENOMEM;
	} while (!atomic_compare_exchange_weak_explicit(&account->taken, &taken, taken + bytes,
							memory_order_relaxed, memory_order_relaxed));
	return 0;
}

int account_take(struct account *account, uint64_t bytes)
{
	return take(account, bytes, account->maximum);
}

int account_take_minor(struct account *account, uint64_t bytes)
{
	return take(account, bytes, account->minor);
}

bool account_settle(struct account *account)
{
	uint64_t taken = account_taken(account);
	bool over = taken > account->maximum;

	account->minor = (over ? taken : account->maximum) + account->reserve / MINOR_PART;
	return over;
}

void account_force(struct account *account, uint64_t bytes)
{
	atomic_fetch_add_explicit(&account->taken, bytes, memory_order_relaxed);
}

void account_give(struct account *account, uint64_t bytes)
{
	atomic_fetch_sub_explicit(&account->taken, bytes, memory_order_relaxed);
}

uint64_t account_taken(struct account *account)
{
	return atomic_load_explicit(&account->taken, memory_order_relaxed);
}
