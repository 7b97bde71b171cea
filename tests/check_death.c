/* SPDX-License-Identifier: MIT */
/* How sessions end, and how they are handed to forked children, by raw messages. */
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"
#include "heapd/geometry.h"
#include "numbers.h"
#include "suite.h"

static struct fixture f;
static const struct heapd_directory *directory; /* of the watcher's session */
static int watcher = -1;

/* The watcher stays attached, so one session is its own. */
static void setup(void)
{
	struct fixture_fds fds;
	struct heapd_message m;

	fixture_start(&f, NULL);
	watcher = fixture_attach(&f, FIXTURE_HEAP, 0, &m, &fds);
	ck_assert_int_ge(watcher, 0);
	directory = mmap(NULL, 65536, PROT_READ, MAP_SHARED, fds.fd[1], 0);
	ck_assert_ptr_ne(directory, MAP_FAILED);
	fixture_close(&fds);
}

/*
 * What the machine does besides is none of heapd's: with real-time priority the test, its daemon and its clients, which inherit
 * it, do not wait for programs that have none. Who may not have it measures those, too.
 */
static void setup_alone(void)
{
	const struct sched_param least = { .sched_priority = 1 };

	if (sched_setscheduler(0, SCHED_RR, &least) < 0)
		printf("measured beside what else runs here: no real-time priority (%s)\n", strerror(errno));
	setup();
}

static void teardown(void)
{
	munmap((void *)(uintptr_t)directory, 65536);
	close(watcher);
	fixture_stop(&f);
}

static uint64_t sessions(void)
{
	struct heapd_message m = { .op = HEAPD_OP_GET, .setting.key = "sessions.count" };

	ck_assert_int_eq(fixture_call(watcher, &m, NULL), 0);
	ck_assert_int_eq(m.status, 0);
	return strtoull(m.setting.value, NULL, 10);
}

/* Nanoseconds until there are that many sessions; fails after two seconds. */
static uint64_t wait_sessions(uint64_t wanted)
{
	uint64_t begin = fixture_now_ns(), now = begin;

	while (sessions() != wanted) {
		now = fixture_now_ns();
		ck_assert_msg(now - begin < 2000000000u, "%lu sessions, not %lu", (unsigned long)sessions(),
			      (unsigned long)wanted);
	}
	return fixture_now_ns() - begin;
}

static uint64_t deaths(void)
{
	return __atomic_load_n(&directory->stats.deaths, __ATOMIC_RELAXED);
}

/* A child process that attaches, then does something with its socket. */
struct client {
	int ready; /* written to once it has attached */
	int (*then)(int fd);
};

static int run_client(void *arg)
{
	struct client *client = arg;
	struct heapd_message m;
	int fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL);

	if (fd < 0 || write(client->ready, "", 1) != 1)
		return 99;
	return client->then(fd);
}

static pid_t start_client(int (*then)(int fd))
{
	struct client client = { .then = then };
	int ends[2];
	char word;
	pid_t pid;

	ck_assert_int_eq(pipe(ends), 0);
	client.ready = ends[1];
	pid = fixture_client_fork(run_client, &client);
	ck_assert_int_eq(read(ends[0], &word, 1), 1);
	close(ends[0]);
	close(ends[1]);
	return pid;
}

static int stay(int fd)
{
	for (;;)
		pause();
	return fd;
}

/* From SIGKILL to the session's end, its pins with it. A zombie is dead: nobody waits for the child until then. */
START_TEST(killed_process_is_forgotten_within_5_ms)
{
	uint64_t ns[21];

	for (size_t i = 0; i < 21; i++) {
		pid_t pid = start_client(stay);

		ck_assert_uint_eq(sessions(), 2);
		kill(pid, SIGKILL);
		ns[i] = wait_sessions(1);
		fixture_wait(pid, -SIGKILL);
	}
	qsort(ns, 21, sizeof(ns[0]), numbers_compare);
	printf("death noticed: median %.2f ms, worst %.2f ms\n", (double)ns[10] / 1e6, (double)ns[20] / 1e6);
	ck_assert_uint_lt(ns[10], 5000000);
	ck_assert_uint_eq(deaths(), 21);
	ck_assert(fixture_logged(&f, "ended without a detach"));
}
END_TEST

static int bye_and_exit(int fd)
{
	struct heapd_message m = { .op = HEAPD_OP_BYE };

	/* Dies before the reply: what was said before counts. */
	return send(fd, &m, sizeof(m), 0) == sizeof(m) ? 0 : 1;
}

START_TEST(detached_process_has_not_died)
{
	struct heapd_message m = { .op = HEAPD_OP_BYE };
	int fd;

	fixture_wait(start_client(bye_and_exit), 0);
	wait_sessions(1);
	fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL);
	ck_assert_uint_eq(sessions(), 2);
	m.op = HEAPD_OP_BYE;
	ck_assert_int_eq(fixture_call(fd, &m, NULL), 0);
	ck_assert_uint_eq(sessions(), 1);
	ck_assert_uint_eq(deaths(), 0);
	close(fd);
}
END_TEST

/* More than is read in one turn, and the farewell last. */
static int say_much(int fd)
{
	struct heapd_message m = { .op = HEAPD_OP_GET, .setting.key = "heap.name" };

	for (int i = 0; i < 40; i++) {
		if (send(fd, &m, sizeof(m), MSG_DONTWAIT) != sizeof(m))
			return 1;
	}
	return bye_and_exit(fd);
}

static int say_much_while_the_daemon_is_stopped(int fd)
{
	raise(SIGSTOP);
	return say_much(fd);
}

/* The same, with the socket held open by a child. */
static int say_much_and_leave_a_child(int fd)
{
	raise(SIGSTOP);
	if (fork() == 0) {
		raise(SIGSTOP);
		_exit(0);
	}
	return say_much(fd);
}

static void check_last_words(int (*then)(int fd))
{
	pid_t pid = start_client(then);
	int status;

	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert(WIFSTOPPED(status));
	kill(f.daemon, SIGSTOP);
	kill(pid, SIGCONT);
	fixture_wait(pid, 0);
	kill(f.daemon, SIGCONT);
	wait_sessions(1);
	ck_assert_uint_eq(deaths(), 0);
}

START_TEST(last_words_are_heard)
{
	int status;
	pid_t pid;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	check_last_words(say_much_while_the_daemon_is_stopped);
	check_last_words(say_much_and_leave_a_child);
	pid = waitpid(-1, &status, WUNTRACED);
	ck_assert(WIFSTOPPED(status));
	kill(pid, SIGCONT);
	fixture_wait(pid, 0);
}
END_TEST

START_TEST(closed_socket_ends_the_session)
{
	struct heapd_message m;
	int fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL);

	ck_assert_uint_eq(sessions(), 2);
	close(fd);
	wait_sessions(1);
	ck_assert_uint_eq(deaths(), 1);
}
END_TEST

/* Its child stops itself, with the socket, and becomes this process's when its parent dies. */
static int leave_child_with_socket(int fd)
{
	pid_t child = fork();
	siginfo_t info;

	if (child == 0) {
		raise(SIGSTOP);
		close(fd);
		_exit(3);
	}
	/* Left to be seen by who inherits it. */
	waitid(P_PID, (id_t)child, &info, WSTOPPED | WNOWAIT);
	raise(SIGSTOP);
	return 0;
}

START_TEST(child_that_holds_the_socket_does_not_hold_the_session)
{
	int status;
	pid_t pid;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid = start_client(leave_child_with_socket);
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert(WIFSTOPPED(status));
	ck_assert_uint_eq(sessions(), 2);
	kill(pid, SIGKILL);
	wait_sessions(1);
	fixture_wait(pid, -SIGKILL);
	ck_assert(fixture_logged(&f, "its process is gone"));

	pid = waitpid(-1, &status, WUNTRACED);
	ck_assert(WIFSTOPPED(status));
	kill(pid, SIGCONT);
	fixture_wait(pid, 3);
}
END_TEST

/* What FORK gives: the child's socket, session and notify socket. */
static uint64_t ask_fork(int fd, struct fixture_fds *fds)
{
	struct heapd_message m = { .op = HEAPD_OP_FORK };

	ck_assert_int_eq(fixture_call(fd, &m, fds), 0);
	ck_assert_msg(m.status == 0, "%s", m.text);
	ck_assert_uint_eq(fds->n, 3);
	return m.welcome.session;
}

/* As the child's handler does it. */
static int hello_child(int fd)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(struct ucred))] = { 0 };
	struct ucred who = { .pid = getpid(), .uid = geteuid(), .gid = getegid() };
	struct heapd_message m = { .op = HEAPD_OP_HELLO_CHILD };
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	int r;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_CREDENTIALS;
	c->cmsg_len = CMSG_LEN(sizeof(who));
	memcpy(CMSG_DATA(c), &who, sizeof(who));
	if (sendmsg(fd, &h, MSG_NOSIGNAL) < 0)
		return -errno;
	r = fixture_receive(fd, &m, NULL);
	return r < 0 ? r : m.status;
}

struct child {
	int fd;
	uint64_t session;
	int memory;
};

static int ask_too_early(void *arg)
{
	struct heapd_message m = { .op = HEAPD_OP_GET, .setting.key = "heap.name" };

	return fixture_call(*(int *)arg, &m, NULL) == 0 && m.status == -EPROTO ? 0 : 1;
}

static int speak_and_stay(void *arg)
{
	struct child *child = arg;
	struct heapd_message m = { .op = HEAPD_OP_GET, .setting.key = "heap.name" };
	struct heapd_session *s = mmap(NULL, 4096, PROT_READ, MAP_SHARED, child->memory, 0);

	if (s == MAP_FAILED || s->magic != HEAPD_SESSION_MAGIC || s->id != child->session)
		return 1;
	if (hello_child(child->fd) != 0)
		return 2;
	if (fixture_call(child->fd, &m, NULL) < 0 || m.status < 0 ||
	    strcmp(m.setting.value, FIXTURE_HEAP) != 0)
		return 3;
	/* Once is enough. */
	if (hello_child(child->fd) != -EPROTO)
		return 4;
	raise(SIGSTOP);
	return 0;
}

START_TEST(forked_child_has_a_session_of_its_own)
{
	struct fixture_fds fds;
	struct child child;
	int status;
	pid_t pid;

	child.session = ask_fork(watcher, &fds);
	child.fd = fds.fd[0];
	child.memory = fds.fd[1];
	ck_assert_uint_eq(sessions(), 2);
	pid = fixture_client_fork(speak_and_stay, &child);
	fixture_close(&fds);
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert_msg(WIFSTOPPED(status), "exit status %d", WEXITSTATUS(status));
	ck_assert_uint_eq(sessions(), 2);
	kill(pid, SIGKILL);
	wait_sessions(1);
	fixture_wait(pid, -SIGKILL);
	ck_assert_uint_eq(deaths(), 1);
}
END_TEST

START_TEST(fork_that_failed_leaves_nothing)
{
	struct fixture_fds fds;

	ask_fork(watcher, &fds);
	ck_assert_uint_eq(sessions(), 2);
	fixture_close(&fds);
	wait_sessions(1);
	ck_assert_uint_eq(deaths(), 0);
}
END_TEST

START_TEST(parent_cannot_be_its_own_child)
{
	struct fixture_fds fds;

	ask_fork(watcher, &fds);
	ck_assert_int_eq(hello_child(fds.fd[0]), -EPERM);
	wait_sessions(1);
	fixture_close(&fds);
}
END_TEST

START_TEST(child_says_who_it_is_first)
{
	struct fixture_fds fds;

	ask_fork(watcher, &fds);
	fixture_wait(fixture_client_fork(ask_too_early, &fds.fd[0]), 0);
	wait_sessions(1);
	fixture_close(&fds);
}
END_TEST

static int speak(void *arg)
{
	return -hello_child(*(int *)arg);
}

static int speak_by_grandchild(void *arg)
{
	pid_t pid = fixture_client_fork(speak, arg);

	fixture_wait(pid, EPERM);
	return 0;
}

START_TEST(grandchild_is_no_child)
{
	struct fixture_fds fds;

	ask_fork(watcher, &fds);
	fixture_wait(fixture_client_fork(speak_by_grandchild, &fds.fd[0]), 0);
	wait_sessions(1);
	fixture_close(&fds);
}
END_TEST

static int become_another_and_speak(void *arg)
{
	if (setuid(65534) < 0)
		return 99;
	return speak(arg);
}

START_TEST(child_of_another_user_is_no_child)
{
	struct fixture_fds fds;

	if (getuid() != 0) {
		printf("SKIP child_of_another_user_is_no_child: needs root, to become another user\n");
		return;
	}
	ask_fork(watcher, &fds);
	fixture_wait(fixture_client_fork(become_another_and_speak, &fds.fd[0]), EPERM);
	wait_sessions(1);
	fixture_close(&fds);
}
END_TEST

/* The parent asks, forks and is killed before the child has said a word. */
static int fork_and_die(int fd)
{
	struct fixture_fds fds;
	pid_t parent = getpid();

	ask_fork(fd, &fds);
	if (fork() == 0) {
		while (getppid() == parent)
			usleep(1000);
		_exit(hello_child(fds.fd[0]) == 0 ? 42 : 43);
	}
	raise(SIGKILL);
	return 0;
}

START_TEST(child_outlives_its_parent)
{
	pid_t pid;

	/* The orphan comes to us, and so does its exit status. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid = start_client(fork_and_die);
	fixture_wait(pid, -SIGKILL);
	fixture_wait(-1, 42);
	wait_sessions(1);
	/* Both ended without a detach. */
	ck_assert_uint_eq(deaths(), 2);
}
END_TEST

static int exec_away(int fd)
{
	(void)fd;
	execl("/bin/sleep", "sleep", "100", NULL);
	return 1;
}

START_TEST(exec_drops_the_session)
{
	pid_t pid = start_client(exec_away);

	wait_sessions(1);
	ck_assert_int_eq(kill(pid, 0), 0);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
}
END_TEST

/* Attach, detach, die and fork at random; nothing is left, of sessions or of descriptors. */
START_TEST(churn_leaves_nothing)
{
	unsigned seed = (unsigned)fixture_seed();
	pid_t pids[8] = { 0 };

	for (int i = 0; i < 300; i++) {
		size_t k = (size_t)rand_r(&seed) % 8;

		if (pids[k]) {
			kill(pids[k], SIGKILL);
			fixture_wait(pids[k], -SIGKILL);
			pids[k] = 0;
		} else {
			pids[k] = start_client(stay);
		}
		if (i % 7 == 0) {
			struct fixture_fds fds;

			ask_fork(watcher, &fds);
			fixture_close(&fds);
		}
	}
	for (size_t k = 0; k < 8; k++) {
		if (!pids[k])
			continue;
		kill(pids[k], SIGKILL);
		fixture_wait(pids[k], -SIGKILL);
	}
	wait_sessions(1);
	ck_assert_uint_eq(directory->stats.sessions, 1);
}
END_TEST

START_TEST(daemon_that_ends_is_noticed)
{
	struct fixture_fds fds = { .n = 0 };
	struct heapd_message m;
	int fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, &fds);

	close(watcher);
	fixture_kill(&f, SIGKILL);
	ck_assert_int_eq(fixture_receive(fd, &m, NULL), -ECONNRESET);
	ck_assert_int_eq(fixture_receive(fds.fd[4], &m, NULL), -ECONNRESET);
	/* The heap is still there for who has it mapped. */
	ck_assert_uint_eq(directory->magic, HEAPD_DIRECTORY_MAGIC);
	close(fd);
	fixture_close(&fds);
	fixture_restart(&f);
	watcher = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL);
	ck_assert_int_ge(watcher, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("death");
	TCase *tcase = tcase_create("death"), *alone = tcase_create("alone");

	tcase_set_timeout(alone, 60);
	tcase_add_checked_fixture(alone, setup_alone, teardown);
	tcase_add_test(alone, killed_process_is_forgotten_within_5_ms);
	suite_add_tcase(suite, alone);
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, detached_process_has_not_died);
	tcase_add_test(tcase, last_words_are_heard);
	tcase_add_test(tcase, closed_socket_ends_the_session);
	tcase_add_test(tcase, child_that_holds_the_socket_does_not_hold_the_session);
	tcase_add_test(tcase, forked_child_has_a_session_of_its_own);
	tcase_add_test(tcase, fork_that_failed_leaves_nothing);
	tcase_add_test(tcase, parent_cannot_be_its_own_child);
	tcase_add_test(tcase, child_says_who_it_is_first);
	tcase_add_test(tcase, grandchild_is_no_child);
	tcase_add_test(tcase, child_of_another_user_is_no_child);
	tcase_add_test(tcase, child_outlives_its_parent);
	tcase_add_test(tcase, exec_drops_the_session);
	tcase_add_test(tcase, churn_leaves_nothing);
	tcase_add_test(tcase, daemon_that_ends_is_noticed);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
