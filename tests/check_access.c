/* SPDX-License-Identifier: MIT */
/* Who may do what: owner, group and mode of a heap for processes of several real users, and a container. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/peer.h"
#include "fixture.h"
#include "heapd.h"
#include "heapd/session.h"
#include "suite.h"
#include "users.h"

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

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* A forked child, which the daemon has to know as its parent's. */
static int child_inside(heapd_heap *heap)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(heapd_alloc(heap, 100) && heapd_root_set(heap, "of the child", NULL) >= 0 ? 0 : 1);
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 23;
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
	return heapd_load(&thing->next) ? child_inside(heap) : 22;
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

/* Like a kernel of before 6.5: a socket has no pidfd, and a pidfd tells nothing. */
static bool be_old_kernel(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fstatfs, 6, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsockopt, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 77 /* SO_PEERPIDFD */, 3, 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xc040ff0b /* PIDFD_GET_INFO */, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOPROTOOPT),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/* The unit's view of /proc, as a user who sees nobody else's processes there. */
static bool hide_processes(void)
{
	return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("proc", "/proc", "proc", 0, "hidepid=invisible,subset=pid") == 0 &&
	       setgroups(0, NULL) == 0 && setgid(NO_GROUP) == 0 && setuid(OTHER) == 0;
}

struct strangers {
	bool old_kernel;
	int socket;         /* whose other end is the client's */
	pid_t client, none; /* none: no child of the client's, ... */
	pid_t child;        /* ... and one */
};

static int look_at_client(const struct strangers *s, struct peer *client)
{
	struct peer again;
	uint64_t mark;

	if (peer_of_socket(s->socket, client) < 0 || client->pid != s->client || client->uid != 0)
		return 2;
	mark = peer_mark(client->pid, client->pidfd);
	if (s->old_kernel != (mark == 0) || peer_of_record(client->pid, mark, 0, &again) < 0)
		return 3;
	peer_release(&again);
	return peer_of_record(client->pid, mark + 1, 0, &again) == -ESRCH ? 0 : 4;
}

static int child_status(const struct peer *parent, pid_t pid, uid_t said)
{
	struct ucred credentials = { .pid = pid, .uid = said };
	struct peer found = { .pidfd = -1 };
	int r = peer_of_child(&credentials, parent, &found);

	if (r == 0 && said == 0 && peer_is_child_of(&found, parent->pid, OTHER))
		r = -EPROTO;
	peer_release(&found);
	return r;
}

/* Who is no child is let in only where that cannot be told; and a user who is not said is looked for where it stands. */
static int look_at_strangers(const struct strangers *s)
{
	struct peer client;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", s->client);
	if (access(path, F_OK) == 0 || (s->old_kernel && !be_old_kernel()))
		return 1;
	r = look_at_client(s, &client);
	if (r == 0 && child_status(&client, s->child, 0) != 0)
		r = 5;
	if (r == 0 && child_status(&client, s->none, 0) != (s->old_kernel ? 0 : -EPERM))
		r = 6;
	if (r == 0 && child_status(&client, s->child, OTHER) != (s->old_kernel ? -EPERM : 0))
		r = 7;
	return r;
}

static int be_stranger(void *arg)
{
	struct strangers *s = arg;
	int pair[2], status;
	pid_t looking;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
		return 90;
	s->client = getpid();
	s->socket = pair[0];
	s->child = fork();
	if (s->child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
	}
	looking = fork();
	if (looking == 0)
		_exit(hide_processes() ? look_at_strangers(s) : 77);
	waitpid(looking, &status, 0);
	kill(s->child, SIGKILL);
	waitpid(s->child, NULL, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 91;
}

/* _i: whether the kernel is an old one. */
START_TEST(who_it_is_without_proc)
{
	struct strangers s = { .old_kernel = _i, .none = getpid() };
	int status;

	if (!is_root("who_it_is_without_proc"))
		return;
	ck_assert_int_ge(waitpid(fixture_client_fork(be_stranger, &s), &status, 0), 0);
	ck_assert(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		printf("SKIP who_it_is_without_proc: /proc cannot be mounted here\n");
	else
		ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

static Suite *access_suite(void)
{
	Suite *suite = suite_create("access");
	TCase *tcase = tcase_create("access");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, mode_says_who_may_do_what);
	tcase_add_loop_test(tcase, who_it_is_without_proc, 0, 2);
	tcase_add_test(tcase, a_container_is_known_by_its_user_outside);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(access_suite());
}
