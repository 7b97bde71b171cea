/* SPDX-License-Identifier: MIT */
/* Who may do what: owner, group and mode of a heap for processes of several real users, their shares, and a container. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"
#include "heapd.h"
#include "heapd/session.h"

enum { OWNER = 40001, MEMBER, OTHER, LISTED, GROUP = 50001, NO_GROUP };

#define READ_ONLY HEAPD_HELLO_READ_ONLY

static struct fixture f;

static const char
	*const settings[] = {
		"heap.shop.Size=64M",    "heap.shop.Limit=16M",
		"heap.shop.Owner=40001", "heap.shop.Group=50001",
		"heap.shop.Mode=0740",   "heap.shop.AllowUsers=40004",
		"heap.odd.Size=64M", /* its owner may do less than everybody else */
		"heap.odd.Limit=16M",    "heap.odd.Owner=40001",
		"heap.odd.Mode=0007",    NULL,
	};

struct process {
	uid_t uid;
	gid_t group;
	int (*fn)(void);
};

static int become(void *arg)
{
	const struct process *p = arg;

	if (setgroups(1, &p->group) < 0 || setgid(p->uid) < 0 || setuid(p->uid) < 0)
		return 99;
	return p->fn();
}

static bool is_root(const char *test)
{
	if (getuid() == 0)
		return true;
	printf("SKIP %s: needs root, to become other users\n", test);
	return false;
}

static void run_as(uid_t uid, gid_t group, int (*fn)(void))
{
	struct process p = { uid, group, fn };

	fixture_wait(fixture_client_fork(become, &p), 0);
}

/* The status of an attach, of a setting's change, and of a verification. */
static int attach_status(const char *heap, uint32_t flags)
{
	struct fixture_fds fds = { .n = 0 };
	struct heapd_message m;
	int fd = fixture_attach(&f, heap, flags, &m, &fds);

	fixture_close(&fds);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int request_status(const char *heap, enum heapd_op op)
{
	struct heapd_message m;
	struct fixture_fds fds = { .n = 0 };
	int fd = fixture_attach(&f, heap, READ_ONLY, &m, &fds), r;

	fixture_close(&fds);
	if (fd < 0)
		return fd;
	m = (struct heapd_message){ .op = op };
	if (op == HEAPD_OP_SET) {
		strcpy(m.setting.key, "gc.stall_timeout");
		strcpy(m.setting.value, "11");
	}
	r = fixture_call(fd, &m, NULL);
	close(fd);
	return r < 0 ? r : m.status;
}

/* Writing, reading, changing settings, verifying: 0 or what it is refused with, in this order. */
static int rights(const char *heap, int writing, int reading, int administering)
{
	if (attach_status(heap, 0) != writing)
		return 1;
	if (attach_status(heap, READ_ONLY) != reading)
		return 2;
	if (reading)
		return 0;
	if (request_status(heap, HEAPD_OP_SET) != administering)
		return 3;
	return request_status(heap, HEAPD_OP_VERIFY) != administering ? 4 : 0;
}

static int owner(void)
{
	int r = rights("shop", 0, 0, 0);

	return r ? r : 10 * rights("odd", -EACCES, -EACCES, 0);
}

static int member(void)
{
	return rights("shop", -EACCES, 0, -EPERM);
}

static int other(void)
{
	int r = rights("shop", -EACCES, -EACCES, 0);

	return r ? r : 10 * rights("odd", 0, 0, 0);
}

static int listed(void)
{
	return rights("shop", 0, 0, -EPERM);
}

START_TEST(mode_says_who_may_do_what)
{
	if (!is_root("mode_says_who_may_do_what"))
		return;
	fixture_start(&f, settings);
	run_as(OWNER, NO_GROUP, owner);
	run_as(MEMBER, GROUP, member);
	run_as(OTHER, NO_GROUP, other);
	run_as(LISTED, NO_GROUP, listed);
	run_as(OWNER, GROUP, owner); /* one class counts: the owner's */
	ck_assert_int_eq(rights("shop", 0, 0, 0), 0);
	fixture_stop(&f);
}
END_TEST

static int refused_at(unsigned most, const char *option)
{
	struct fixture_fds fds = { .n = 0 };
	struct heapd_message m;
	unsigned n = 0;
	int fd;

	/* Each session says that it has as many threads as there can be, and fills a megabyte. */
	while ((fd = fixture_attach(&f, "odd", 0, &m, &fds)) >= 0 && n++ < most) {
		char *memory =
			mmap(NULL, HEAPD_SESSION_CORE, PROT_READ | PROT_WRITE, MAP_SHARED, fds.fd[3], 0);

		memset(memory + HEAPD_SESSION_PIN_AT, 1, 1 << 20);
		((struct heapd_session *)(void *)memory)->nthreads = UINT32_MAX;
		fixture_close(&fds);
	}
	return fd == -EUSERS && strstr(m.text, option) && n ? 0 : 1;
}

static int many_threads(void)
{
	return refused_at(100, "MaxThreadsPerUser=");
}

static int many_bytes(void)
{
	return refused_at(100, "MaxBytesPerUser=");
}

static int one_more(void)
{
	return attach_status("odd", 0);
}

/* _i: which of the two. Another user has its own share. */
START_TEST(what_a_user_costs_is_bounded)
{
	const char *const limited[] = { "heap.odd.Size=64M", "heap.odd.Limit=16M", "heap.odd.Mode=0006",
					_i ? "daemon.MaxBytesPerUser=5M" : "daemon.MaxThreadsPerUser=1000",
					NULL };

	if (!is_root("what_a_user_costs_is_bounded"))
		return;
	fixture_start(&f, limited);
	run_as(OTHER, NO_GROUP, _i ? many_bytes : many_threads);
	run_as(MEMBER, NO_GROUP, one_more);
	fixture_stop(&f);
}
END_TEST

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

static int use_heap(void)
{
	struct thing {
		heapd_ptr(struct thing) next;
		long number;
	};
	heapd_heap *heap;

	if (heapd_attach(&heap, FIXTURE_HEAP, NULL) != -EACCES || heapd_attach(&heap, "shop", NULL) < 0)
		return 20;
	heapd_type *things = heapd_type_define(heap, "thing", struct thing, next);
	struct thing *thing = things ? heapd_root(heap, "from inside", struct thing, things) : NULL;
	if (!thing)
		return 21;
	thing->number = 4711;
	heapd_store(&thing->next, heapd_new(things, struct thing));
	return heapd_load(&thing->next) ? 0 : 22;
}

/* Inside, it is user 0 and process 1 of a world of its own, which has heapd's socket at another place. */
static int inside(void)
{
	char path[64];

	if (mount(f.dir, "/mnt", NULL, MS_BIND, NULL) < 0)
		return 30;
	snprintf(path, sizeof(path), "/mnt%s", strrchr(f.socket, '/'));
	setenv("HEAPD_SOCKET", path, 1);
	return getuid() == 0 && getpid() == 1 ? use_heap() : 31;
}

static int container(void)
{
	char log[128];
	int status;
	pid_t pid;

	prctl(PR_SET_DUMPABLE, 1); /* or /proc/self would be root's */
	if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) < 0)
		return 77;
	if (!write_file("/proc/self/setgroups", "deny") || !write_file("/proc/self/uid_map", "0 40001 1") ||
	    !write_file("/proc/self/gid_map", "0 40001 1"))
		return 77;
	pid = fork();
	if (pid == 0)
		_exit(inside());
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return 40;
	snprintf(log, sizeof(log), "heap 'shop': process %d of user %d attached", pid, OWNER);
	if (WEXITSTATUS(status) == 0 && !fixture_logged(&f, log))
		return 41;
	return WEXITSTATUS(status);
}

START_TEST(a_container_is_known_by_its_user_outside)
{
	const char *name = "a_container_is_known_by_its_user_outside";
	struct process p = { OWNER, NO_GROUP, container };
	int status;

	if (!is_root(name))
		return;
	fixture_start(&f, settings);
	chmod(f.dir, 0755);
	chmod(f.log, 0644);
	ck_assert_int_ge(waitpid(fixture_client_fork(become, &p), &status, 0), 0);
	ck_assert(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		printf("SKIP %s: users may not make namespaces here\n", name);
	else
		ck_assert_int_eq(WEXITSTATUS(status), 0);
	fixture_stop(&f);
}
END_TEST

static Suite *access_suite(void)
{
	Suite *suite = suite_create("access");
	TCase *tcase = tcase_create("access");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, mode_says_who_may_do_what);
	tcase_add_loop_test(tcase, what_a_user_costs_is_bounded, 0, 2);
	tcase_add_test(tcase, a_container_is_known_by_its_user_outside);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(access_suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
