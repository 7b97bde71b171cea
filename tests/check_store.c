/* SPDX-License-Identifier: MIT */
/* The descriptors that are kept: how many there may be, and that a daemon can be started with all of them. */
#include "daemon/notify.h"
#include "daemon/store.h"
#include "fixture.h"
#include "suite.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAR_TOO_MANY 20000u

/* A service manager that keeps nothing, but hears what is said to it. */
struct manager {
	int fd;
	pthread_t thread;
	_Atomic unsigned heard;
};

static void *hear(void *arg)
{
	struct manager *manager = arg;
	char text[256];

	while (recv(manager->fd, text, sizeof(text), 0) > 0)
		manager->heard++;
	return NULL;
}

/* One that does not read yet. */
static void manager_open(struct manager *manager)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t length = sizeof(address);
	char name[sizeof(address.sun_path) + 2];

	manager->heard = 0;
	manager->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(manager->fd, (struct sockaddr *)&address, sizeof(address.sun_family)), 0);
	ck_assert_int_eq(getsockname(manager->fd, (struct sockaddr *)&address, &length), 0);
	snprintf(name, sizeof(name), "@%.*s", (int)(length - offsetof(struct sockaddr_un, sun_path) - 1),
		 address.sun_path + 1);
	setenv("NOTIFY_SOCKET", name, 1);
}

static void manager_begin(struct manager *manager)
{
	manager_open(manager);
	ck_assert_int_eq(pthread_create(&manager->thread, NULL, hear, manager), 0);
}

static void manager_end(struct manager *manager)
{
	shutdown(manager->fd, SHUT_RDWR);
	pthread_join(manager->thread, NULL);
	close(manager->fd);
	unsetenv("NOTIFY_SOCKET");
}

static int some_memory(void)
{
	int fd = memfd_create("stored", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static int put(struct store *store, unsigned number)
{
	char name[STORE_NAME_MAX];
	int fd = some_memory(), r;

	snprintf(name, sizeof(name), "session.%u", number);
	r = store_put(store, name, fd);
	close(fd);
	return r;
}

/* _i: what systemd says goes before what the unit does, which may be all that there is. */
START_TEST(what_does_not_fit_is_refused)
{
	struct manager manager;
	struct store store;

	if (_i)
		setenv("FDSTORE", "3", 1);
	setenv("HEAPD_FDSTORE", _i ? "4096" : "3", 1);
	manager_begin(&manager);
	ck_assert_int_eq(store_init(&store, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(put(&store, i), 0);
	ck_assert_int_eq(put(&store, 3), -ENOSPC);
	ck_assert_uint_eq(store.count, 3);
	store_remove(&store, "session.1");
	ck_assert_int_eq(put(&store, 4), 0);
	ck_assert_int_eq(put(&store, 5), -ENOSPC);
	manager_end(&manager);
	/* Of what was refused nothing was said. */
	ck_assert_uint_eq(manager.heard, 5);
	store_deinit(&store);
}
END_TEST

/* So many words that its socket takes no more; returns how many. */
static unsigned fill(void)
{
	unsigned n = 0;

	while (notify_send("X=1", -1, 0) == 1)
		n++;
	ck_assert_uint_gt(n, 0);
	return n;
}

static void hear_names(const struct manager *manager, unsigned words, const char *names[], unsigned n)
{
	char text[256];

	for (unsigned i = 0; i < words + n; i++) {
		ck_assert_int_gt(
			recv(manager->fd, memset(text, 0, sizeof(text)), sizeof(text) - 1, MSG_DONTWAIT), 0);
		if (i >= words)
			ck_assert_msg(strstr(text, names[i - words]) != NULL, "'%s', not %s", text,
				      names[i - words]);
	}
	ck_assert_int_lt(recv(manager->fd, text, sizeof(text), MSG_DONTWAIT), 0);
}

/* Who does not read is not waited for, and what it did not hear is said when it reads again: until then it counts. */
START_TEST(what_was_not_heard_is_said_again)
{
	struct manager manager;
	struct store store;
	uint64_t begin;
	unsigned words;

	setenv("FDSTORE", "4", 1);
	manager_open(&manager);
	ck_assert_int_eq(store_init(&store, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(put(&store, i), 0);
	words = fill() + 3;
	store_hurry(&store);
	begin = fixture_now_ns();
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(put(&store, 3), -EAGAIN);
	store_remove(&store, "session.0");
	store_remove(&store, "session.1");
	ck_assert_int_eq(put(&store, 3), -EAGAIN);
	/* It was waited for once. */
	ck_assert_uint_lt(fixture_now_ns() - begin, 10000000000u);
	ck_assert_uint_eq(store.count, 3);
	hear_names(&manager, words, NULL, 0);
	store_flush(&store);
	ck_assert_uint_eq(store.count, 1);
	ck_assert_int_eq(put(&store, 0), 0);
	hear_names(&manager, 0,
		   (const char *[]){ "FDSTOREREMOVE=1\nFDNAME=session.1", "FDSTOREREMOVE=1\nFDNAME=session.0",
				     "FDSTORE=1\nFDPOLL=0\nFDNAME=session.0" },
		   3);
	close(manager.fd);
	store_deinit(&store);
}
END_TEST

/* What was removed and is put in anew, before anybody heard the one, is not removed by it. */
START_TEST(nothing_is_put_in_before_what_went)
{
	struct manager manager;
	struct store store;
	unsigned words;

	setenv("FDSTORE", "4", 1);
	manager_open(&manager);
	ck_assert_int_eq(store_init(&store, NULL), 0);
	ck_assert_int_eq(put(&store, 0), 0);
	words = fill() + 1;
	store_hurry(&store);
	store_remove(&store, "session.0");
	hear_names(&manager, words, NULL, 0);
	ck_assert_int_eq(put(&store, 0), 0);
	hear_names(&manager, 0, (const char *[]){ "FDSTOREREMOVE=1", "FDSTORE=1" }, 2);
	ck_assert_uint_eq(store.count, 1);
	close(manager.fd);
	store_deinit(&store);
}
END_TEST

/* In a child: with those names, and two descriptors that have the first two of them, a program can be started. */
static void start_with(const char *names, const char *program, char *argument)
{
	char number[16];

	dup2(some_memory(), 3);
	dup2(some_memory(), 4);
	snprintf(number, sizeof(number), "%d", getpid());
	setenv("LISTEN_PID", number, 1);
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_FDNAMES", names, 1);
	execl(program, program, argument, NULL);
	_exit(errno == E2BIG ? 77 : 78);
}

static int status_of(const char *names, const char *program)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		start_with(names, program, NULL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* All names that were taken, behind that of a socket. */
static char *names_until_full(struct store *store)
{
	char *names = malloc(FAR_TOO_MANY * 20ul), *end = names;
	int r = 0;

	end += sprintf(end, "heapd.socket");
	for (unsigned i = 100000; r == 0 && i < 100000 + FAR_TOO_MANY; i++) {
		r = put(store, i);
		if (r == 0)
			end += sprintf(end, ":session.%u", i);
	}
	ck_assert_int_eq(r, -ENAMETOOLONG);
	return names;
}

/* There is room for many more descriptors, and none for their names. */
START_TEST(a_program_can_be_started_with_all_that_is_kept)
{
	struct manager manager;
	struct store store;
	char *names;

	setenv("FDSTORE", "65536", 1);
	manager_begin(&manager);
	ck_assert_int_eq(store_init(&store, NULL), 0);
	names = names_until_full(&store);
	manager_end(&manager);
	ck_assert_uint_gt(store.count, 8000);
	ck_assert_int_eq(status_of(names, "/bin/true"), 0);
	/* One that goes makes room for one. */
	store_remove(&store, "session.100000");
	ck_assert_int_eq(put(&store, 1), -ENOTCONN);
	/* Twice as long, it could not: the bound is one that counts. */
	names = realloc(names, 2 * (strlen(names) + 1));
	memcpy(names + strlen(names) + 1, names, strlen(names) + 1);
	names[strlen(names)] = ':';
	ck_assert_int_eq(status_of(names, "/bin/true"), 77);
	free(names);
	store_deinit(&store);
}
END_TEST

/* In a process that was started with two: they count, and so do their names. */
static int count_given(void)
{
	struct store store;

	unsetenv("NOTIFY_SOCKET");
	if (store_init(&store, NULL) < 0)
		return 1;
	if (store.nitems != 2 || store.count != 2 || store.names != 2 * sizeof("session.7"))
		return 2;
	store_deinit(&store);
	return 0;
}

START_TEST(what_is_given_back_counts)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int status;
	pid_t pid;

	ck_assert_int_gt(n, 0);
	self[n] = '\0';
	pid = fork();
	if (pid == 0)
		start_with("session.7:session.8", self, "given");
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}
END_TEST

static Suite *store_suite(void)
{
	Suite *suite = suite_create("store");
	TCase *tcase = tcase_create("store");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, what_does_not_fit_is_refused, 0, 2);
	tcase_add_test(tcase, what_was_not_heard_is_said_again);
	tcase_add_test(tcase, nothing_is_put_in_before_what_went);
	tcase_add_test(tcase, a_program_can_be_started_with_all_that_is_kept);
	tcase_add_test(tcase, what_is_given_back_counts);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(int argc, char **argv)
{
	(void)argv;
	return argc > 1 ? count_given() : suite_run(store_suite());
}
