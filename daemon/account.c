/* SPDX-License-Identifier: MIT */
/*
 * account.c - owns the sum of all that the daemon committed, and the parts that heaps have of it.
 *
 * Right because whoever takes or gives does so with the lock held, which nobody keeps for more than some instructions and no
 * client knows of: two threads cannot both take what is left only once, and a refusal leaves nothing behind.
 *
 * What is kept for a heap and what all have together are never more than the maximum as long as nothing is forced, and no heap
 * comes when the others have all: a heap takes either of what nobody has and nobody is owed, or of what is owed to itself. So a heap
 * that has less than its share always gets more, whatever the others do. Where what was forced breaks that sum, a heap has
 * what is left of its share, and nothing is taken back from those who were there first.
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
	pthread_mutex_init(&account->lock, NULL);
	account->owed = 0;
	account->share = account->nparts = 0;
	LIST_INIT(&account->parts);
	account_settle(account);
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t owed_to(const struct account_part *part)
{
	return minus(part->kept, part->taken);
}

/* With the lock held, as all that follows here. */
static void part_set(struct account_part *part, uint64_t kept, uint64_t taken)
{
	struct account *account = part->account;

	account->owed -= owed_to(part);
	part->kept = kept;
	part->taken = taken;
	account->owed += owed_to(part);
}

static void share_out(struct account *account)
{
	uint64_t share = account->maximum / 100 * account->share;
	struct account_part *part;

	if (account->nparts)
		share = least(share, account->maximum / account->nparts);
	LIST_FOREACH(part, &account->parts, link)
		part_set(part, least(share, part->most), part->taken);
}

static uint64_t left_for(const struct account_part *part)
{
	struct account *account = part->account;
	uint64_t left = minus(account->maximum, account_taken(account)), mine = owed_to(part);
	uint64_t free = minus(left, account->owed - mine);

	return free > mine ? free : least(left, mine);
}

static void add(struct account_part *part, uint64_t bytes)
{
	atomic_fetch_add_explicit(&part->account->taken, bytes, memory_order_relaxed);
	part_set(part, part->kept, part->taken + bytes);
}

static int add_within(struct account_part *part, uint64_t bytes, uint64_t left)
{
	if (bytes > left)
		return -ENOMEM;
	add(part, bytes);
	return 0;
}

/* For all: ---------------------------------------------------------------------------------------------------- */

void account_set_share(struct account *account, unsigned percent)
{
	pthread_mutex_lock(&account->lock);
	account->share = percent;
	share_out(account);
	pthread_mutex_unlock(&account->lock);
}

void account_join(struct account *account, struct account_part *part)
{
	*part = (struct account_part){ .account = account };
	pthread_mutex_lock(&account->lock);
	LIST_INSERT_HEAD(&account->parts, part, link);
	account->nparts++;
	share_out(account);
	pthread_mutex_unlock(&account->lock);
}

void account_set_most(struct account_part *part, uint64_t bytes)
{
	pthread_mutex_lock(&part->account->lock);
	part->most = bytes;
	share_out(part->account);
	pthread_mutex_unlock(&part->account->lock);
}

void account_leave(struct account_part *part)
{
	struct account *account = part->account;

	pthread_mutex_lock(&account->lock);
	part_set(part, 0, part->taken);
	LIST_REMOVE(part, link);
	account->nparts--;
	share_out(account);
	pthread_mutex_unlock(&account->lock);
}

int account_take(struct account_part *part, uint64_t bytes)
{
	int r;

	pthread_mutex_lock(&part->account->lock);
	r = add_within(part, bytes, left_for(part));
	pthread_mutex_unlock(&part->account->lock);
	return r;
}

uint64_t account_left(struct account_part *part)
{
	uint64_t left;

	pthread_mutex_lock(&part->account->lock);
	left = left_for(part);
	pthread_mutex_unlock(&part->account->lock);
	return left;
}

int account_take_minor(struct account_part *part, uint64_t bytes)
{
	struct account *account = part->account;
	int r;

	pthread_mutex_lock(&account->lock);
	r = add_within(part, bytes, minus(account->minor, account_taken(account)));
	pthread_mutex_unlock(&account->lock);
	return r;
}

bool account_settle(struct account *account)
{
	uint64_t taken = account_taken(account);
	bool over = taken > account->maximum;

	account->minor = (over ? taken : account->maximum) + account->reserve / MINOR_PART;
	return over;
}

void account_force(struct account_part *part, uint64_t bytes)
{
	pthread_mutex_lock(&part->account->lock);
	add(part, bytes);
	pthread_mutex_unlock(&part->account->lock);
}

void account_give(struct account_part *part, uint64_t bytes)
{
	struct account *account = part->account;

	pthread_mutex_lock(&account->lock);
	atomic_fetch_sub_explicit(&account->taken, bytes, memory_order_relaxed);
	part_set(part, part->kept, part->taken - bytes);
	pthread_mutex_unlock(&account->lock);
}

uint64_t account_taken(struct account *account)
{
	return atomic_load_explicit(&account->taken, memory_order_relaxed);
}
