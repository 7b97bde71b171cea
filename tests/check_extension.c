/* SPDX-License-Identifier: MIT */
/*
 * A daemon that takes long to find its heap again asks its service manager for more time. The manager is this process, in small: it
 * keeps descriptors, and starts a daemon with them.
 */
#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heapd.h"
#include "manager.h"
#include "suite.h"

#define KEPT_MAX  64
#define SLOWED_US 50u
#define RECOVERIES \
	20u /* of some milliseconds each; one of them will be stopped in its midst for long enough */

struct kept {
	int notify; /* what the daemon says comes here */
	char dir[64], socket[96];
	unsigned n;
	struct {
		int fd;
		char name[96];
	} all[KEPT_MAX];
};

/* In the child: descriptors 3 and on are what is kept. */
static void pass_kept(const struct kept *kept)
{
	char names[KEPT_MAX * 97] = "", number[16];

	for (unsigned i = 0; i < kept->n; i++)
		dup2(kept->all[i].fd, 200 + (int)i);
	for (unsigned i = 0; i < kept->n; i++) {
		dup2(200 + (int)i, 3 + (int)i);
		strcat(strcat(names, i ? ":" : ""), kept->all[i].name);
	}
	closefrom(3 + (int)kept->n);
	snprintf(number, sizeof(number), "%u", kept->n);
	setenv("LISTEN_FDS", number, 1);
	snprintf(number, sizeof(number), "%d", getpid());
	setenv("LISTEN_PID", number, 1);
	setenv("LISTEN_FDNAMES", names, 1);
}

static pid_t kept_start(const struct kept *kept)
{
	const char *build = getenv("HEAPD_TEST_BUILD");
	char program[4096];
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pass_kept(kept);
	setenv("FDSTORE", "64", 1);
	snprintf(program, sizeof(program), "%s/heapd", build ? build : "build");
	execl(program, "heapd", "--socket", kept->socket, "--set", "heap.test.Size=1G", "--set",
	      "heap.test.Limit=400M", "--set", "heap.test.GCPercent=off", NULL);
	_exit(1);
}

static void kept_add(struct kept *kept, int fd, const char *text)
{
	const char *name = strstr(text, "FDNAME=");

	ck_assert(kept->n < KEPT_MAX && name);
	kept->all[kept->n].fd = fd;
	sscanf(name, "FDNAME=%95[^\n]", kept->all[kept->n++].name);
}

static void kept_remove(struct kept *kept, const char *text)
{
	char name[96] = "";

	sscanf(strstr(text, "FDNAME="), "FDNAME=%95[^\n]", name);
	for (unsigned i = kept->n; i-- > 0;)
		if (strcmp(kept->all[i].name, name) == 0) {
			close(kept->all[i].fd);
			kept->all[i] = kept->all[--kept->n];
		}
}

/* The next thing that the daemon says, done with what is to be kept. False: nothing comes. */
static bool kept_hear(struct kept *kept, char *text, size_t size)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { text, size - 1 };
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
	};
	struct pollfd p = { .fd = kept->notify, .events = POLLIN };
	ssize_t n = poll(&p, 1, 30000) > 0 ? recvmsg(kept->notify, &h, MSG_CMSG_CLOEXEC) : -1;
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&h) : NULL;
	int fd;

	text[n > 0 ? n : 0] = '\0';
	if (c && c->cmsg_type == SCM_RIGHTS) {
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		kept_add(kept, fd, text);
	} else if (strstr(text, "FDSTOREREMOVE=1")) {
		kept_remove(kept, text);
	}
	return n > 0;
}

/* Hears the daemon until a process has ended well. */
static void kept_wait(struct kept *kept, pid_t pid)
{
	char text[2048];
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0)
		if (recv(kept->notify, text, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
			kept_hear(kept, text, sizeof(text));
		else
			usleep(1000);
	ck_assert_int_eq(status, 0);
}

/* How often it asked for more time until it was ready. */
static unsigned extensions_until_ready(struct kept *kept)
{
	unsigned n = 0;
	char text[2048];

	do {
		ck_assert_msg(kept_hear(kept, text, sizeof(text)), "the daemon says nothing");
		n += strcmp(text, "EXTEND_TIMEOUT_USEC=30000000") == 0;
	} while (!strstr(text, "READY=1"));
	return n;
}

static int fill_with_small(void *socket)
{
	heapd_heap *attached;
	unsigned n = 0;

	setenv("HEAPD_SOCKET", socket, 1);
	if (heapd_attach(&attached, FIXTURE_HEAP, NULL) < 0)
		return 1;
	while (heapd_alloc(attached, 16))
		n++;
	return n > 10000000 && heapd_detach(attached) == 0 ? 0 : 2;
}

/* Stops the whole process again and again, so that what takes milliseconds takes long. */
static pid_t slow_down(pid_t pid)
{
	pid_t helper = fork();

	if (helper)
		return helper;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		kill(pid, SIGSTOP);
		usleep(STOPPED_US);
		kill(pid, SIGCONT);
		usleep(SLOWED_US);
	}
}

/* Another daemon in its place: how often that asks for more time. */
static unsigned slow_recovery(struct kept *kept, pid_t *daemon)
{
	char text[2048];
	unsigned n;
	pid_t slow;

	kill(*daemon, SIGKILL);
	fixture_wait(*daemon, -SIGKILL);
	/* What it has said and nobody has read. */
	while (recv(kept->notify, text, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
		kept_hear(kept, text, sizeof(text));
	ck_assert_uint_ge(kept->n, 4);
	*daemon = kept_start(kept);
	slow = slow_down(*daemon);
	n = extensions_until_ready(kept);
	kill(slow, SIGKILL);
	fixture_wait(slow, -SIGKILL);
	kill(*daemon, SIGCONT);
	return n;
}

static void kept_end(struct kept *kept, pid_t daemon, const struct sockaddr_un *address)
{
	char text[2048];

	/* Once it is ready there is nothing to ask for. */
	for (unsigned i = 0; i < 5; i++) {
		ck_assert(kept_hear(kept, text, sizeof(text)));
		ck_assert_ptr_null(strstr(text, "EXTEND_TIMEOUT_USEC"));
	}
	kill(daemon, SIGTERM);
	kept_wait(kept, daemon);
	for (unsigned i = 0; i < kept->n; i++)
		close(kept->all[i].fd);
	close(kept->notify);
	unlink(address->sun_path);
	unlink(kept->socket);
	rmdir(kept->dir);
}

START_TEST(a_long_recovery_asks_for_time)
{
	struct kept kept = { .dir = "/tmp/heapd-manager.XXXXXX" };
	struct sockaddr_un address;
	unsigned n = 0;
	pid_t daemon;

	ck_assert_ptr_nonnull(mkdtemp(kept.dir));
	snprintf(kept.socket, sizeof(kept.socket), "%s/socket", kept.dir);
	kept.notify = manager(&address);
	setenv("WATCHDOG_USEC", "40000", 1);
	daemon = kept_start(&kept);
	ck_assert_uint_eq(extensions_until_ready(&kept), 0);
	kept_wait(&kept, fixture_client_fork(fill_with_small, kept.socket));
	for (unsigned i = 0; i < RECOVERIES && !n; i++)
		n = slow_recovery(&kept, &daemon);
	printf("it asked for more time %u times\n", n);
	ck_assert_uint_ge(n, 1);
	kept_end(&kept, daemon, &address);
	unsetenv("WATCHDOG_USEC");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("extension");
	TCase *tcase = tcase_create("extension");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, a_long_recovery_asks_for_time);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
