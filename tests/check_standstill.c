/* SPDX-License-Identifier: MIT */
/*
 * What a service manager hears of a real daemon that takes long, and of one that stands still: one of its threads gets a small
 * share of the time that it would have, or none.
 */
#include <check.h>
#include <dirent.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heapd.h"
#include "manager.h"
#include "suite.h"

#define WATCHDOG_US 2000000u
#ifdef HEAPD_TSAN /* all takes so much longer */
#define NODES 500000u
#else
#define NODES 3000000u
#endif
#define HOBBLED_US 500u /* a thread that stands for STOPPED_US runs for that long, ... */
#define RUN_MOST \
	40u /* ... of its own time; so many times as long where others have the processors, or it waits */

struct node {
	heapd_ptr(struct node) next;
	uint64_t number;
};

static const struct {
	const char *thread; /* NULL: the main thread */
	const char *debug;
	bool verify;
} longs[] = { { NULL, NULL, true }, { "gc:test", "barrier", false } };

static pid_t thread_named(pid_t pid, const char *name)
{
	char path[300], found[32];
	struct dirent *entry;
	pid_t tid = 0;
	DIR *dir;

	if (!name)
		return pid;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while (!tid && (entry = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", pid, entry->d_name);
		f = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
		if (f && fscanf(f, "%31s", found) == 1 && strcmp(found, name) == 0)
			tid = atoi(entry->d_name);
		if (f)
			fclose(f);
	}
	closedir(dir);
	ck_assert_int_gt(tid, 0);
	return tid;
}

/* Processor time of a thread, in ns. */
static uint64_t ran_ns(pid_t tid)
{
	char path[64];
	uint64_t ns = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", tid);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%" SCNu64, &ns) != 1)
		ns = 0;
	if (f)
		fclose(f);
	return ns;
}

/* Its share does not depend on who else is there: a thread that no processor was free for has not run. */
static void let_run(pid_t tid)
{
	uint64_t before = ran_ns(tid);
	unsigned i = 0;

	do
		usleep(HOBBLED_US);
	while (++i < RUN_MOST && ran_ns(tid) - before < HOBBLED_US * 1000);
}

/* The kernel lets the thread go on when this process ends. */
static pid_t hobble(pid_t tid, bool for_good)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0)
		_exit(1);
	for (;;) {
		if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 || waitpid(tid, NULL, __WALL) < 0)
			_exit(1);
		usleep(STOPPED_US);
		while (for_good)
			pause();
		if (ptrace(PTRACE_CONT, tid, NULL, NULL) < 0)
			_exit(1);
		let_run(tid);
	}
}

static void unhobble(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status), "a thread of the daemon cannot be traced");
}

/* A long list, then whatever goes through it, slowly. */
static int work_long(void *arg)
{
	struct heapd_options options = heapd_options_default();
	int which = *(const int *)arg, r;
	struct node *first = NULL;
	heapd_heap *attached;

	options.request_timeout_ms = 120000;
	if (longs[which].debug)
		setenv("HEAPD_DEBUG", longs[which].debug, 1);
	if (heapd_attach(&attached, FIXTURE_HEAP, &options) < 0)
		return 10;
	heapd_type *type = heapd_type_define(attached, "node", struct node, next);
	for (unsigned i = 0; type && i < NODES; i++) {
		struct node *node = heapd_new(type, struct node);

		if (!node)
			return 11;
		heapd_init(&node->next, first);
		first = node;
	}
	if (heapd_root_set(attached, "list", first) < 0)
		return 12;
	kill(getpid(), SIGSTOP);
	r = longs[which].verify ? heapd_verify(attached, NULL) : heapd_collect(attached);
	return r < 0 ? 13 : 0;
}

/* The longest time, in us, that passes without a word until the process has ended; how long that took in all: *whole. */
static uint64_t longest_silence(int fd, pid_t pid, uint64_t *whole)
{
	uint64_t begin = fixture_now_ns(), last = begin, longest = 0;
	char text[2048];
	int status = -1;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n = poll(&p, 1, 10) > 0 ? recv(fd, text, sizeof(text) - 1, 0) : 0;
		uint64_t now = fixture_now_ns();

		text[n > 0 ? n : 0] = '\0';
		if (now - last > longest)
			longest = now - last;
		if (strstr(text, "WATCHDOG=1"))
			last = now;
	}
	ck_assert_int_eq(status, 0);
	*whole = (fixture_now_ns() - begin) / 1000;
	return longest / 1000;
}

static int manager_for(struct fixture *f, struct sockaddr_un *address)
{
	static const char *const settings[] = { "heap.test.GCPercent=400", NULL };
	char us[32];
	int fd = manager(address);

	snprintf(us, sizeof(us), "%u", WATCHDOG_US);
	setenv("WATCHDOG_USEC", us, 1);
	fixture_start(f, settings);
	unsetenv("WATCHDOG_USEC");
	unsetenv("NOTIFY_SOCKET");
	return fd;
}

/* What the daemon says meanwhile is taken: for each word it waits until there is room, from those on that it begins with. */
static void hear_until_stopped(int fd, pid_t client)
{
	char text[16];
	int status;

	while (waitpid(client, &status, WUNTRACED | WNOHANG) == 0)
		if (recv(fd, text, sizeof(text), MSG_DONTWAIT) < 0)
			usleep(1000);
	ck_assert(WIFSTOPPED(status));
}

/* _i: of longs. */
START_TEST(a_long_phase_is_no_standstill)
{
	struct sockaddr_un address;
	uint64_t silence, whole;
	pid_t client, hobbler;
	struct fixture f;
	char *log;
	int fd = manager_for(&f, &address);

	client = fixture_client_fork(work_long, &_i);
	hear_until_stopped(fd, client);
	hobbler = hobble(thread_named(f.daemon, longs[_i].thread), false);
	usleep(50000);
	kill(client, SIGCONT);
	silence = longest_silence(fd, client, &whole);
	unhobble(hobbler);
	printf("a phase of %" PRIu64 " ms in all, the longest silence %" PRIu64 " ms\n", whole / 1000,
	       silence / 1000);
	ck_assert_uint_gt(whole, WATCHDOG_US);
	ck_assert_uint_lt(silence, WATCHDOG_US);
	log = fixture_log(&f);
	ck_assert_ptr_null(strstr(log, "is stuck"));
	free(log);
	manager_end(&f, fd, &address);
}
END_TEST

START_TEST(a_standstill_is_told_of)
{
	char text[2048];
	struct sockaddr_un address;
	struct fixture f;
	int fd = manager_for(&f, &address);
	pid_t hobbler;

	ck_assert(hears(fd, "WATCHDOG=1", text, sizeof(text)));
	hobbler = hobble(f.daemon, true);
	for (unsigned i = 0; i < 100 && !fixture_logged(&f, "the loop is stuck"); i++)
		usleep(100000);
	ck_assert(fixture_logged(&f, "the loop is stuck"));
	while (recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) > 0)
		;
	usleep(WATCHDOG_US);
	ck_assert_int_lt(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT), 0);
	unhobble(hobbler);
	ck_assert(hears(fd, "WATCHDOG=1", text, sizeof(text)));
	manager_end(&f, fd, &address);
}
END_TEST

static Suite *standstill_suite(void)
{
	Suite *suite = suite_create("standstill");
	TCase *tcase = tcase_create("standstill");

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, a_long_phase_is_no_standstill, 0, 2);
	tcase_add_test(tcase, a_standstill_is_told_of);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(standstill_suite());
}
