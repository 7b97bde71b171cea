/* SPDX-License-Identifier: MIT */
/*
 * The watchdog: who is stuck, and who only seems so; and what a service manager hears of a real daemon, also of one that takes
 * long to find its heap again.
 */
#include "daemon/watchdog.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/notify.h"
#include "fixture.h"
#include "heapd.h"
#include "heapd/atomic.h"
#include "slowness.h"
#include "suite.h"

#define PATIENCE 1000
#define SESSIONS 3u

static struct heap heap = { .name = "shop" };
static struct heap *heaps[] = { &heap };
static struct sessions sessions = { .heaps = heaps, .nheaps = 1 };
static struct watchdog watchdog;
static struct log lines;
static int out[2];

static void setup(void)
{
	ck_assert_int_eq(pipe2(out, O_NONBLOCK), 0);
	log_init(&lines, out[1], LOG_TARGET_JOURNAL, LOG_INFO);
	heap.supply_beat = heap.collection_beat = heap.walk_beat = (struct beat){ 0 };
	watchdog = (struct watchdog){ .sessions = &sessions, .log = &lines, .patience = PATIENCE };
	ck_assert(watchdog_look(&watchdog, 5));
}

static const char *said(void)
{
	static char text[4096];
	ssize_t n = read(out[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

START_TEST(whoever_rests_is_well)
{
	for (uint64_t now = 0; now < 10 * PATIENCE; now += PATIENCE)
		ck_assert(watchdog_look(&watchdog, 5 + now));
	beat_begin(&heap.supply_beat);
	beat_rest(&heap.supply_beat);
	ck_assert(watchdog_look(&watchdog, 20 * PATIENCE));
	ck_assert(watchdog_look(&watchdog, 40 * PATIENCE));
	ck_assert_str_eq(said(), "");
}
END_TEST

/* _i: which of the two threads. */
START_TEST(whoever_works_and_does_not_beat_is_stuck)
{
	struct beat *beat = _i ? &heap.collection_beat : &heap.supply_beat;

	beat_begin(beat);
	ck_assert(watchdog_look(&watchdog, 100));
	ck_assert(watchdog_look(&watchdog, 100 + PATIENCE - 1));
	ck_assert(!watchdog_look(&watchdog, 100 + PATIENCE));
	ck_assert_ptr_nonnull(
		strstr(said(), _i ? "'shop': its collector is stuck" : "'shop': its supplier is stuck"));
	ck_assert(!watchdog_look(&watchdog, 100 + 2 * PATIENCE));
	ck_assert_str_eq(said(), "");
	beat_count(beat);
	ck_assert(watchdog_look(&watchdog, 100 + 3 * PATIENCE));
	ck_assert_ptr_nonnull(strstr(said(), "gets on again"));
}
END_TEST

START_TEST(a_loop_that_does_not_go_round_is_stuck)
{
	beat_begin(&watchdog.loop);
	ck_assert(watchdog_look(&watchdog, 100));
	ck_assert(watchdog_look(&watchdog, 100 + PATIENCE - 1));
	ck_assert(!watchdog_look(&watchdog, 100 + PATIENCE));
	ck_assert_ptr_nonnull(strstr(said(), "the loop is stuck"));
	beat_count(&watchdog.loop);
	ck_assert(watchdog_look(&watchdog, 100 + 2 * PATIENCE));
}
END_TEST

/* Who waits for the heap's lock does not beat, but who has it does. */
START_TEST(whoever_waits_for_a_walk_is_well)
{
	beat_begin(&watchdog.loop);
	beat_begin(&heap.supply_beat);
	beat_begin(&heap.collection_beat);
	for (uint64_t now = 0; now < 10 * PATIENCE; now += PATIENCE - 1) {
		ck_assert(watchdog_look(&watchdog, 100 + now));
		beat_step(&heap.walk_beat, 1024 * now);
	}
	ck_assert(watchdog_look(&watchdog, 100 + 12 * PATIENCE));
	ck_assert(!watchdog_look(&watchdog, 100 + 14 * PATIENCE));
}
END_TEST

START_TEST(whoever_beats_may_work_for_ever)
{
	beat_begin(&heap.collection_beat);
	for (uint64_t now = 0; now < 10 * PATIENCE; now += PATIENCE - 1) {
		ck_assert(watchdog_look(&watchdog, 100 + now));
		beat_count(&heap.collection_beat);
	}
}
END_TEST

/* A service manager that listens: whether it hears a text in time. */
static int manager(struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path, sizeof(address->sun_path), "/tmp/check_watchdog.%d", getpid());
	unlink(address->sun_path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)address, sizeof(*address)), 0);
	setenv("NOTIFY_SOCKET", address->sun_path, 1);
	return fd;
}

static bool hears(int fd, const char *wanted, char *text, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t end = fixture_now_ns() + 5000000000u;

	while (fixture_now_ns() < end && poll(&p, 1, 5000) > 0) {
		ssize_t n = recv(fd, text, size - 1, 0);

		text[n > 0 ? n : 0] = '\0';
		if (strstr(text, wanted))
			return true;
	}
	return false;
}

/* Nobody who listens no more holds up a daemon that ends. */
static void manager_end(struct fixture *f, int fd, const struct sockaddr_un *address)
{
	fixture_stop(f);
	close(fd);
	unlink(address->sun_path);
}

START_TEST(a_daemon_feeds_its_watchdog_and_says_how_it_is)
{
	static const char *const settings[] = { "heap.test.GCPercent=100", NULL };
	struct sockaddr_un address;
	char text[2048], us[32];
	int fd = manager(&address);
	heapd_heap *attached;
	struct fixture f;

	/* While this process attaches nobody listens. */
	snprintf(us, sizeof(us), "%lu", 400000 * (unsigned long)slowness());
	setenv("WATCHDOG_USEC", us, 1);
	fixture_start(&f, settings);
	ck_assert(hears(fd, "STATUS=1 heap, 0 clients; test: ", text, sizeof(text)));
	ck_assert_ptr_nonnull(strstr(text, " of 256.0 MiB"));
	ck_assert(hears(fd, "READY=1", text, sizeof(text)));
	for (int i = 0; i < 5; i++)
		ck_assert(hears(fd, "WATCHDOG=1", text, sizeof(text)));
	ck_assert_int_eq(heapd_attach(&attached, FIXTURE_HEAP, NULL), 0);
	ck_assert_int_eq(heapd_collect(attached), 0);
	ck_assert(hears(fd, "1 heap, 1 client; test: ", text, sizeof(text)));
	ck_assert(strstr(text, "gc 1 took") || hears(fd, "gc 1 took", text, sizeof(text)));
	heapd_detach(attached);
	unsetenv("WATCHDOG_USEC");
	manager_end(&f, fd, &address);
}
END_TEST

/* A process that hears all, until it is ended. */
static pid_t listener_start(int fd)
{
	pid_t pid = fork();
	char text[16];

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		recv(fd, text, sizeof(text), 0);
}

/* What is heard until nothing comes for a second and a half: how often something is to be kept no more, and the last status. */
static unsigned hear_all(int fd, char *status, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char text[2048];
	unsigned removed = 0;

	while (poll(&p, 1, 1500) > 0) {
		ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

		text[n > 0 ? n : 0] = '\0';
		removed += strncmp(text, "FDSTOREREMOVE=1", 15) == 0;
		if (strncmp(text, "STATUS=", 7) == 0)
			snprintf(status, size, "%s", text);
	}
	return removed;
}

/*
 * Who attaches, collects and goes is served while the service manager reads nothing. When it reads again it hears how things are then,
 * and of each session once that it is not to be kept any more.
 */
START_TEST(nobody_waits_for_a_manager_that_does_not_listen)
{
	static const char *const settings[] = { "heap.test.GCPercent=100", NULL };
	struct sockaddr_un address;
	char text[2048] = "";
	int fd = manager(&address);
	pid_t listener = listener_start(fd);
	heapd_heap *attached;
	struct fixture f;
	uint64_t begin;

	setenv("FDSTORE", "64", 1);
	fixture_start(&f, settings);
	kill(listener, SIGKILL);
	fixture_wait(listener, -SIGKILL);
	hear_all(fd, text, sizeof(text));
	while (notify_send("X=1", -1, 0) == 1)
		;
	begin = fixture_now_ns();
	for (unsigned i = 0; i < SESSIONS; i++) {
		ck_assert_int_eq(heapd_attach(&attached, FIXTURE_HEAP, NULL), 0);
		ck_assert_int_eq(heapd_collect(attached), 0);
		usleep(1100000); /* there is another status to be told each second */
		ck_assert_int_eq(heapd_detach(attached), 0);
	}
	ck_assert_uint_lt(fixture_now_ns() - begin, 30000000000u);
	ck_assert_uint_eq(hear_all(fd, text, sizeof(text)), SESSIONS);
	ck_assert_msg(strstr(text, "0 clients") && strstr(text, "gc 3 took"), "%s", text);
	manager_end(&f, fd, &address);
}
END_TEST

/* Long phases of a real daemon: one of its threads gets a small share of the time that it would have. */

#define WATCHDOG_US 2000000u
#ifdef HEAPD_TSAN /* all takes so much longer */
#define NODES      500000u
#define STOPPED_US 5000u
#else
#define NODES      2000000u
#define STOPPED_US 20000u /* it stands for that long, ... */
#endif
#define HOBBLED_US 500u /* ... and runs for that long, ... */
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

/* A service manager in small: it keeps descriptors, and starts a daemon with them. */

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
	struct kept kept = { .dir = "/tmp/check_watchdog.XXXXXX" };
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

static Suite *watchdog_suite(void)
{
	Suite *suite = suite_create("watchdog");
	TCase *looks = tcase_create("looks"), *service = tcase_create("service");

	tcase_add_checked_fixture(looks, setup, NULL);
	tcase_add_test(looks, whoever_rests_is_well);
	tcase_add_loop_test(looks, whoever_works_and_does_not_beat_is_stuck, 0, 2);
	tcase_add_test(looks, a_loop_that_does_not_go_round_is_stuck);
	tcase_add_test(looks, whoever_waits_for_a_walk_is_well);
	tcase_add_test(looks, whoever_beats_may_work_for_ever);
	suite_add_tcase(suite, looks);
	tcase_set_timeout(service, 120);
	tcase_add_test(service, a_daemon_feeds_its_watchdog_and_says_how_it_is);
	tcase_add_test(service, nobody_waits_for_a_manager_that_does_not_listen);
	tcase_add_loop_test(service, a_long_phase_is_no_standstill, 0, 2);
	tcase_add_test(service, a_standstill_is_told_of);
	tcase_add_test(service, a_long_recovery_asks_for_time);
	suite_add_tcase(suite, service);
	return suite;
}

int main(void)
{
	return suite_run(watchdog_suite());
}
