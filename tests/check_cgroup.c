/* SPDX-License-Identifier: MIT */
/*
 * A daemon in a memory cgroup of 192 MiB, with a heap that may have far more: its own account refuses in
 * time, and nobody is killed. And one that finds its heap again in a smaller group, where it would not have come to be. Needs
 * root and a memory controller.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "objects.h"
#include "wipe.h"

#define CGROUP_BYTES (192ul << 20)
#define LEAST_BYTES  (64ul << 20) /* that much of it has to be usable */
#define OBJECT       4096u

#define SMALL_BYTES (80ul << 20)
#define HEAP_BYTES  (100ul << 20) /* of the heap that does not fit into that */

static struct fixture fixture;
static char group[200], small_group[200], home[200];

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

static bool group_make(char *path, const char *parent, const char *name, const char *limit,
		       unsigned long most)
{
	char bytes[32];

	snprintf(path, sizeof(group), "%.150s/heapd-%s.%d", parent, name, (int)getpid());
	snprintf(bytes, sizeof(bytes), "%lu", most);
	if (mkdir(path, 0755) < 0) {
		*path = 0;
		return false;
	}
	if (file_write(path, limit, bytes))
		return true;
	rmdir(path);
	*path = 0;
	return false;
}

static bool groups_make(const char *parent, const char *limit)
{
	return group_make(group, parent, "check", limit, CGROUP_BYTES) &&
	       group_make(small_group, parent, "small", limit, SMALL_BYTES);
}

/* Of the first version below the hierarchy's own root; of the second below this process's group. */
static bool group_find(void)
{
	if (group_home("memory", "/sys/fs/cgroup/memory") && groups_make(home, "memory.limit_in_bytes"))
		return true;
	return group_home("", "/sys/fs/cgroup") && groups_make(home, "memory.max");
}

/* After a test that failed, the daemon may take a moment to end. */
static void group_remove(const char *path)
{
	for (int tries = 0; *path && rmdir(path) < 0 && tries < 100; tries++)
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

static uint64_t fill(heapd_heap *heap, struct chain **chain, uint64_t most)
{
	uint64_t bytes = 0;
	struct chain *c;

	while (bytes < most && (c = (struct chain *)heapd_alloc(heap, OBJECT))) {
		memset(c + 1, 1, OBJECT - sizeof(*c));
		c->next = *chain;
		*chain = c;
		bytes += OBJECT;
	}
	return bytes;
}

static bool groups_are_there(const char *test)
{
	if (*group && *small_group)
		return true;
	printf("SKIP %s: no memory cgroup can be made here\n", test);
	return false;
}

START_TEST(the_account_refuses_before_the_cgroup_kills)
{
	struct chain *chain = NULL;
	heapd_heap *heap;
	uint64_t bytes;

	if (!groups_are_there("the_account_refuses_before_the_cgroup_kills"))
		return;
	daemon_start_in_group();
	ck_must(heapd_attach(&heap, FIXTURE_HEAP, NULL) == 0, "%s", heapd_error());
	bytes = fill(heap, &chain, 2 * CGROUP_BYTES);
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_uint_ge(bytes, LEAST_BYTES);
	ck_assert_uint_lt(bytes, CGROUP_BYTES);
	while (chain) {
		struct chain *next = chain->next;

		ck_assert_int_eq(heapd_free(chain), 0);
		chain = next;
	}
	ck_assert_int_eq(heapd_sync(heap), 0);
	ck_assert_uint_ge(fill(heap, &chain, 2 * CGROUP_BYTES), LEAST_BYTES);
	ck_assert_int_eq(heapd_detach(heap), 0);
	fixture_stop(&fixture);
}
END_TEST

/* In a process of its own: fills a heap, as far as that goes, and holds it. */
static int fill_and_hold(void *arg)
{
	_Atomic uint64_t *filled = arg;
	struct chain *chain = NULL;
	heapd_heap *heap;

	if (heapd_attach(&heap, "early", NULL) < 0)
		return 1;
	*filled = 1 + fill(heap, &chain, 2 * CGROUP_BYTES);
	for (;;)
		pause();
}

static uint64_t wait_for_fill(const _Atomic uint64_t *filled)
{
	for (unsigned i = 0; !*filled && i < 50000; i++)
		usleep(1000);
	return *filled;
}

/*
 * Two heaps, and one of them is filled as far as that goes. _i: 1: the other one finds its share, a fourth of the 128 MiB that the
 * daemon has of its group, less what its tables take. 0: it finds next to nothing.
 */
START_TEST(a_heap_that_is_filled_leaves_others_their_shares)
{
	const char *const settings[] = { "heap.early.Size=4G",
					 "heap.early.Limit=4G",
					 "heap.test.Size=4G",
					 "heap.test.Limit=4G",
					 "heap.early.GCPercent=off",
					 "heap.test.GCPercent=off",
					 _i ? "daemon.HeapShare=25%" : "daemon.HeapShare=off",
					 NULL };
	const uint64_t share = (CGROUP_BYTES - (64ul << 20)) / 4;
	_Atomic uint64_t *filled =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct chain *chain = NULL;
	uint64_t bytes;
	heapd_heap *heap;
	pid_t pid;

	if (!groups_are_there("a_heap_that_is_filled_leaves_others_their_shares"))
		return;
	ck_assert(file_write(group, "cgroup.procs", "0"));
	fixture_start(&fixture, settings);
	ck_assert(file_write(home, "cgroup.procs", "0"));
	pid = fixture_client_fork(fill_and_hold, (void *)(uintptr_t)filled);
	ck_assert_uint_ge(wait_for_fill(filled), LEAST_BYTES);
	ck_must(heapd_attach(&heap, FIXTURE_HEAP, NULL) == 0, "%s", heapd_error());
	bytes = fill(heap, &chain, 2 * CGROUP_BYTES);
	ck_said(ENOMEM, "MemoryMax=");
	if (_i)
		ck_assert_msg(bytes >= share / 2 && *filled <= 3 * share,
			      "%" PRIu64 " of %" PRIu64 ", beside %" PRIu64, bytes, share, *filled);
	else
		ck_assert_uint_lt(bytes, share / 4);
	ck_assert_int_eq(heapd_detach(heap), 0);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	fixture_stop(&fixture);
}
END_TEST

/* The next daemon of its keeper's lives in the small group. */
static pid_t daemon_in_small_group(void)
{
	pid_t before = fixture_kept_daemon(&fixture), now;
	char keeper[16];

	snprintf(keeper, sizeof(keeper), "%d", (int)fixture.daemon);
	ck_assert(file_write(small_group, "cgroup.procs", keeper));
	ck_assert_int_eq(kill(before, SIGKILL), 0);
	while ((now = fixture_kept_daemon(&fixture)) == before)
		usleep(1000);
	return now;
}

static int attach_and_look(void *unused)
{
	heapd_heap *heap;

	(void)unused;
	return heapd_attach(&heap, FIXTURE_HEAP, NULL) == 0 && heapd_root_get(heap, "none", NULL) == NULL &&
			       heapd_detach(heap) == 0
		       ? 0
		       : 1;
}

static void free_half(struct chain *chain)
{
	for (struct chain *next; chain && (next = chain->next); chain = chain->next) {
		heapd_store(&chain->next, next->next);
		ck_assert_int_eq(heapd_free(next), 0);
	}
}

/*
 * Each by itself: the new chain's objects lie between those of this one, where whoever has the address of one has that of
 * the end of the one before, which would keep all that came after it.
 */
static void let_go(struct chain **chain)
{
	for (struct chain *c = *chain, *next; c; c = next) {
		next = c->next;
		heapd_store(&c->next, NULL);
	}
	*chain = NULL;
	stack_wipe();
}

/* What is there is served, to those who are there and to who comes; it does not grow; what is freed, or garbage, is had again. */
static void live_in_small_group(heapd_heap *heap, struct chain **chain)
{
	uint64_t more = fill(heap, chain, 2 * CGROUP_BYTES);

	ck_said(ENOMEM, "MemoryMax=");
	ck_assert_uint_lt(more, HEAP_BYTES / 2);
	ck_assert_ptr_null(heapd_alloc(heap, 8 << 20));
	ck_said(ENOMEM, "MemoryMax=");
	fixture_wait(fixture_client_fork(attach_and_look, NULL), 0);
	free_half(*chain);
	ck_assert_uint_ge(fill(heap, chain, HEAP_BYTES / 4), HEAP_BYTES / 4);
	let_go(chain);
	ck_assert_uint_ge(fill(heap, chain, HEAP_BYTES / 2), HEAP_BYTES / 2);
}

START_TEST(a_heap_that_is_found_in_a_smaller_group_is_served)
{
	static const char *const settings[] = {
		"heap.test.Size=4G", "heap.test.Limit=4G", "heap.test.GCPercent=100",
		"heap.zother.Size=64M", /* that is found when there is no room left */
		NULL
	};
	struct chain *chain = NULL;
	heapd_heap *heap;
	pid_t daemon;

	if (!groups_are_there("a_heap_that_is_found_in_a_smaller_group_is_served"))
		return;
	ck_assert(file_write(group, "cgroup.procs", "0"));
	fixture_start_kept(&fixture, settings);
	ck_assert(file_write(home, "cgroup.procs", "0"));
	ck_must(heapd_attach(&heap, FIXTURE_HEAP, NULL) == 0, "%s", heapd_error());
	ck_assert_uint_ge(fill(heap, &chain, HEAP_BYTES), HEAP_BYTES);
	daemon = daemon_in_small_group();
	ck_assert(fixture_logged(&fixture, "they are served as they are, and do not grow; raise MemoryMax="));
	live_in_small_group(heap, &chain);
	ck_assert_int_eq(fixture_kept_daemon(&fixture), daemon);
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
	tcase_add_loop_test(tcase, a_heap_that_is_filled_leaves_others_their_shares, 0, 2);
	tcase_add_test(tcase, a_heap_that_is_found_in_a_smaller_group_is_served);
	group_find();
	srunner_run_all(runner, CK_ENV);
	group_remove(group);
	group_remove(small_group);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
