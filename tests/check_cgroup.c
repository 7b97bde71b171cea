/* SPDX-License-Identifier: MIT */
/*
 * A daemon in a memory cgroup of 192 MiB, with a heap that may have far more: its own account refuses in
 * time, and nobody is killed. Needs root and a memory controller.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "objects.h"

#define CGROUP_BYTES (192ul << 20)
#define LEAST_BYTES  (64ul << 20) /* that much of it has to be usable */
#define OBJECT       4096u

static struct fixture fixture;
static char group[200], home[200];

struct chain {
	struct chain *next;
};

static bool file_write(const char *dir, const char *name, const char *text)
{
	char path[320];
	int fd;
	bool done;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return done;
}

/* The directory of this process's own group in a hierarchy; `controller`: its name in /proc/self/cgroup, "" for v2. */
static bool group_home(const char *controller, const char *mount)
{
	char line[512], wanted[64];
	FILE *f = fopen("/proc/self/cgroup", "re");
	bool found = false;

	if (!f)
		return false;
	snprintf(wanted, sizeof(wanted), ":%s:", controller);
	while (!found && fgets(line, sizeof(line), f)) {
		char *at = strstr(line, wanted);

		line[strcspn(line, "\n")] = 0;
		if (at && (*controller || !strncmp(line, "0::", 3)))
			found = snprintf(home, sizeof(home), "%s%s", mount, at + strlen(wanted)) <
				(int)sizeof(home);
	}
	fclose(f);
	return found && access(home, W_OK) == 0;
}

static bool group_make(const char *parent, const char *limit)
{
	char bytes[32];

	snprintf(group, sizeof(group), "%.150s/heapd-check.%d", parent, (int)getpid());
	snprintf(bytes, sizeof(bytes), "%lu", CGROUP_BYTES);
	if (mkdir(group, 0755) < 0) {
		*group = 0;
		return false;
	}
	if (file_write(group, limit, bytes))
		return true;
	rmdir(group);
	*group = 0;
	return false;
}

/* Of the first version below the hierarchy's own root; of the second below this process's group. */
static bool group_find(void)
{
	if (group_home("memory", "/sys/fs/cgroup/memory") && group_make(home, "memory.limit_in_bytes"))
		return true;
	return group_home("", "/sys/fs/cgroup") && group_make(home, "memory.max");
}

/* After a test that failed, the daemon may take a moment to end. */
static void group_remove(void)
{
	for (int tries = 0; *group && rmdir(group) < 0 && tries < 100; tries++)
		usleep(50000);
}

/* The daemon is born in the group; this process goes home at once. */
static void daemon_start_in_group(void)
{
	static const char *const settings[] = { "heap.test.Size=4G", "heap.test.Limit=4G", NULL };

	ck_assert(file_write(group, "cgroup.procs", "0"));
	fixture_start(&fixture, settings);
	ck_assert(file_write(home, "cgroup.procs", "0"));
}

static uint64_t fill(heapd_heap *heap, struct chain **chain)
{
	uint64_t bytes = 0;
	struct chain *c;

	while (bytes < 2 * CGROUP_BYTES && (c = (struct chain *)heapd_alloc(heap, OBJECT))) {
		memset(c + 1, 1, OBJECT - sizeof(*c));
		c->next = *chain;
		*chain = c;
		bytes += OBJECT;
	}
	return bytes;
}

START_TEST(the_account_refuses_before_the_cgroup_kills)
{
	struct chain *chain = NULL;
	heapd_heap *heap;
	uint64_t bytes;

	if (!*group) {
		printf("SKIP the_account_refuses_before_the_cgroup_kills: no memory cgroup can be made here\n");
		return;
	}
	daemon_start_in_group();
	ck_must(heapd_attach(&heap, FIXTURE_HEAP, NULL) == 0, "%s", heapd_error());
	bytes = fill(heap, &chain);
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_uint_ge(bytes, LEAST_BYTES);
	ck_assert_uint_lt(bytes, CGROUP_BYTES);
	while (chain) {
		struct chain *next = chain->next;

		ck_assert_int_eq(heapd_free(chain), 0);
		chain = next;
	}
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_assert_uint_ge(fill(heap, &chain), LEAST_BYTES);
	ck_assert_int_eq(heapd_detach(heap), 0);
	fixture_stop(&fixture);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cgroup");
	TCase *tcase = tcase_create("cgroup");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, the_account_refuses_before_the_cgroup_kills);
	group_find();
	srunner_run_all(runner, CK_ENV);
	group_remove();
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
