/* SPDX-License-Identifier: MIT */
/*
 * What a machine runs out of, for real, where build/crash/shortage has each call fail in turn: open files of the daemon and of a
 * client, and files of a tmpfs. Whoever is refused is told what to do, who has been let in is served, and when there is room
 * again, so is everybody. (No huge pages: check_daemon, check_hugetlb. A memory cgroup: check_cgroup.)
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/sessionmemory.h"
#include "fixture.h"
#include "heapd.h"
#include "suite.h"
#include "users.h"

#define MOST  20
#define SPARE 12u /* files that are left to the daemon */

static struct fixture f;

static bool is_open(pid_t pid, unsigned fd)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%u", pid, fd);
	return lstat(path, &st) == 0;
}

/* So many more may be opened from now on; the old bound. The new one is on their numbers, among which there may be gaps. */
static rlim_t files_leave(pid_t pid, unsigned n)
{
	struct rlimit limit, less;
	unsigned most = 0;

	for (; n || is_open(pid, most); most++)
		n -= !is_open(pid, most);
	ck_assert_int_eq(prlimit(pid, RLIMIT_NOFILE, NULL, &limit), 0);
	less = (struct rlimit){ most, limit.rlim_max };
	ck_assert_int_eq(prlimit(pid, RLIMIT_NOFILE, &less, NULL), 0);
	return limit.rlim_cur;
}

static unsigned files_named(pid_t pid, const char *name)
{
	char path[64], target[128];
	unsigned named = 0;

	for (unsigned fd = 0; fd < 256; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%u", pid, fd);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		named += strstr(target, name) != NULL;
	}
	return named;
}

/* What the daemon opens ahead of need, once it is ready, is there. */
static void wait_for_sessions(void)
{
	for (unsigned i = 0; i < 10000 && files_named(f.daemon, "heapd:session") < SESSIONMEMORIES_READY; i++)
		usleep(1000);
	ck_assert_uint_eq(files_named(f.daemon, "heapd:session"), SESSIONMEMORIES_READY);
}

static void files_allow(pid_t pid, rlim_t n)
{
	struct rlimit limit;

	ck_assert_int_eq(prlimit(pid, RLIMIT_NOFILE, NULL, &limit), 0);
	limit.rlim_cur = n;
	ck_assert_int_eq(prlimit(pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

static int ask(int fd)
{
	struct heapd_message m = { .op = HEAPD_OP_GET, .setting.key = "heap.name" };
	int r = fixture_call(fd, &m, NULL);

	return r < 0 ? r : m.status;
}

/* Where one is left it takes the connection, and there is none to ask by whose it is. That, too, is said. */
START_TEST(the_last_open_file_of_the_daemon)
{
	struct heapd_message m;
	rlim_t before;
	int fd;

	fixture_start(&f, NULL);
	wait_for_sessions();
	before = files_leave(f.daemon, 1);
	fd = fixture_connect(&f);
	ck_assert_int_ge(fd, 0);
	ck_assert(fixture_logged(&f, "Too many open files; raise the limit of open files"));
	ck_assert_int_eq(fixture_receive(fd, &m, NULL), -ECONNRESET);
	close(fd);
	files_allow(f.daemon, before);
	fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL);
	ck_assert_msg(fd >= 0, "%s: %s", strerror(-fd), m.text);
	close(fd);
	fixture_stop(&f);
}
END_TEST

/* A connection that cannot be taken waits in the socket's queue, and is taken when there is room. */
START_TEST(open_files_of_the_daemon)
{
	static const struct timeval patience = { .tv_sec = 10 };
	struct heapd_message m;
	int fds[MOST], fd, n = 0;
	rlim_t before;

	fixture_start(&f, NULL);
	fds[n++] = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL);
	ck_assert_int_ge(fds[0], 0);
	wait_for_sessions();
	before = files_leave(f.daemon, SPARE);
	while (n < MOST) {
		struct heapd_message hello;

		fd = fds[n++] = fixture_connect(&f);
		ck_assert_int_ge(fd, 0);
		fixture_hello(&hello, FIXTURE_HEAP, 0);
		/* Or it has been dropped by now. */
		ck_assert(send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello) || errno == EPIPE);
		usleep(5000);
	}
	ck_assert(fixture_logged(&f, "raise the limit of open files"));
	ck_assert_int_eq(ask(fds[0]), 0);
	files_allow(f.daemon, before);
	/* Whatever became of each of them, it is told. */
	for (int i = 1; i < n; i++) {
		int r;

		ck_assert_int_eq(setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
		r = fixture_receive(fds[i], &m, NULL);
		ck_assert_msg(r == 0 || r == -ECONNRESET, "connection %d: %s", i, strerror(-r));
		ck_assert_msg(r < 0 || m.status == 0 || *m.text, "connection %d: %s, and no reason", i,
			      strerror(-m.status));
	}
	fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL);
	ck_assert_msg(fd >= 0, "%s: %s", strerror(-fd), m.text);
	close(fd);
	while (n)
		close(fds[--n]);
	fixture_stop(&f);
}
END_TEST

/* A client that has no room for the descriptors is told so, and attaches once it has. */
START_TEST(open_files_of_a_client)
{
	heapd_heap *heap;
	rlim_t before;

	fixture_start(&f, NULL);
	for (unsigned n = 0; n < 12; n++) {
		before = files_leave(getpid(), n);
		if (heapd_attach(&heap, FIXTURE_HEAP, NULL) == 0)
			ck_assert_int_eq(heapd_detach(heap), 0);
		else
			ck_assert_msg(strstr(heapd_error(), "open files"), "%u left: %s", n, heapd_error());
		files_allow(getpid(), before);
	}
	ck_assert_msg(heapd_attach(&heap, FIXTURE_HEAP, NULL) == 0, "%s", heapd_error());
	ck_assert_ptr_nonnull(heapd_alloc(heap, 64));
	ck_assert_int_eq(heapd_detach(heap), 0);
	fixture_stop(&f);
}
END_TEST

static int run_on_full_tmpfs(void)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	char command[1024], said[4096] = "";
	FILE *pipe;
	size_t n;
	int status;

	/* Nobody else sees this mount. A tmpfs of one file: the directory itself. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("full", "/mnt", "tmpfs", 0, "size=4k,nr_inodes=1") < 0)
		return 77;
	snprintf(command, sizeof(command),
		 "timeout 20 %s/heapd --config=/dev/null --set heap.a.size=64M --set heap.a.limit=16M "
		 "--socket=/mnt/s 2>&1",
		 build ? build : "build");
	pipe = popen(command, "r");
	if (!pipe)
		return 1;
	n = fread(said, 1, sizeof(said) - 1, pipe);
	said[n] = '\0';
	status = pclose(pipe);
	umount("/mnt");
	if (WEXITSTATUS(status) == 1 && strstr(said, "/mnt/s: cannot be made: No space left on device"))
		return 0;
	fprintf(stderr, "%d: %s\n", status, said);
	return 2;
}

static int on_full_tmpfs(void *arg)
{
	int r;

	(void)arg;
	r = run_on_full_tmpfs();
	if (r == 77)
		printf("SKIP full_tmpfs: nothing can be mounted here\n");
	return r == 77 ? 0 : r;
}

START_TEST(full_tmpfs)
{
	if (!is_root("full_tmpfs"))
		return;
	fixture_wait(fixture_client_fork(on_full_tmpfs, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("scarce");
	TCase *tests = tcase_create("scarce");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, the_last_open_file_of_the_daemon);
	tcase_add_test(tests, open_files_of_the_daemon);
	tcase_add_test(tests, open_files_of_a_client);
	tcase_add_test(tests, full_tmpfs);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
