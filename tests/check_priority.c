/* SPDX-License-Identifier: MIT */
/* Which of the daemon's threads go first, where the daemon may say so: who clients wait for, then who makes their stores dear. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "objects.h"
#include "suite.h"

static struct fixture fixture;

static void setup(void)
{
	static const char *const settings[] = { "heap.test.MarkerThreads=2", "heap.test.GCPercent=100",
						NULL };

	fixture_start(&fixture, settings);
}

static void teardown(void)
{
	fixture_stop(&fixture);
}

/* How many of its threads are called so, beginning with the name, and are this nice. */
static unsigned threads_of(const char *name, int nice)
{
	char path[300], found[32];
	struct dirent *entry;
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", fixture.daemon);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", fixture.daemon, entry->d_name);
		f = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
		if (f && fscanf(f, "%31s", found) == 1 && strncmp(found, name, strlen(name)) == 0)
			n += getpriority(PRIO_PROCESS, (id_t)atoi(entry->d_name)) == nice;
		if (f)
			fclose(f);
	}
	closedir(dir);
	return n;
}

/* Each says it itself, as it begins. */
static void ck_thread(const char *name, int nice)
{
	for (unsigned i = 0; i < 1000 && !threads_of(name, nice); i++)
		usleep(10000);
	ck_must(threads_of(name, nice) == 1, "%u threads are called %s and have nice %d",
		threads_of(name, nice), name, nice);
}

/* As the daemon may: it is of this user, and has these limits. */
static bool may_go_first(void)
{
	int before = getpriority(PRIO_PROCESS, 0);
	bool may = setpriority(PRIO_PROCESS, 0, -10) == 0;

	return setpriority(PRIO_PROCESS, 0, before) == 0 && may;
}

START_TEST(who_goes_first)
{
	bool may = may_go_first();
	int others = getpriority(PRIO_PROCESS, 0);
	heapd_heap *heap = NULL;

	ck_must(heapd_attach(&heap, FIXTURE_HEAP, NULL) == 0, "%s", heapd_error());
	ck_assert_int_eq(heapd_collect(heap), 0);
	ck_thread("supply:", may ? -10 : others);
	ck_thread("gc:", may ? -5 : others);
	ck_thread("mark", may ? -5 : others);
	/* By its number: ThreadSanitizer has a thread of that name, too. */
	ck_assert_int_eq(getpriority(PRIO_PROCESS, (id_t)fixture.daemon), others);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("priority");
	TCase *tests = tcase_create("threads");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, who_goes_first);
	suite_add_tcase(suite, tests);

	return suite_run(suite);
}
