/* SPDX-License-Identifier: MIT */
/*
 * The daemon's socket, abused by a user's processes in every way at once: thousands of connections, half a greeting, messages of
 * wrong sizes and kinds, answers that nobody reads, descriptors sent along by the hundred, and sudden ends. Beside them a client
 * of another user is served all the while. In the end the daemon has as many files and as much memory as before.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fixture.h"
#include "heapd.h"
#include "numbers.h"
#include "slowness.h"
#include "suite.h"
#include "users.h"

#define MS       UINT64_C(1000000)
#define MANY     3000u /* connections of one process */
#define RIGHTS   253u  /* descriptors in one message: the kernel's bound */
#define SESSIONS 12u   /* of one user */
#define ROUND_MS 1200u
#define READY    8u /* files of sessions made ahead of need */
/* The longest that the other's request may take, on a loaded machine. */
#define WAIT_NS (3000 * MS * slowness())
/* Of the daemon's own memory; a sanitizer keeps what was freed. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLACK_KB (1u << 20)
#else
#define SLACK_KB 1024u
#endif

struct board {
	_Atomic uint32_t stop;    /* the attackers' */
	_Atomic uint32_t end;     /* the other's */
	_Atomic uint64_t served;  /* requests of the other's */
	_Atomic uint64_t longest; /* ns */
	_Atomic uint64_t blows, capped;
	char said[256];
};

static struct fixture f;
static struct board *board;
static uint64_t seed;

static void setup(void)
{
	static const char *const settings[] = { "heap.test.Mode=0666", "daemon.MaxSessionsPerUser=12", NULL };

	seed = fixture_seed() | 1;
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	fixture_start(&f, settings);
}

static void teardown(void)
{
	fixture_stop(&f);
	munmap(board, sizeof(*board));
}

/* The attackers ---------------------------------------------------------------------------------------------------- */

static int send_to(int fd, const void *bytes, size_t n, unsigned nfds)
{
	_Alignas(struct cmsghdr) static char room[CMSG_SPACE(RIGHTS * sizeof(int))];
	struct iovec iov = { (void *)(uintptr_t)bytes, n };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nfds) {
		h.msg_control = room;
		h.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		*CMSG_FIRSTHDR(&h) = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						       .cmsg_type = SCM_RIGHTS,
						       .cmsg_len = CMSG_LEN(nfds * sizeof(int)) };
		/* Its own socket among them, so that they lead in circles. */
		for (unsigned i = 0; i < nfds; i++)
			((int *)(void *)CMSG_DATA(CMSG_FIRSTHDR(&h)))[i] = i % 2 ? fd : STDERR_FILENO;
	}
	return sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void blow(void)
{
	board->blows++;
}

/* As many as can be had at once, all silent. */
static void connect_many(uint64_t *random)
{
	static int fds[MANY];
	unsigned n = 0;

	(void)random;
	while (n < MANY && !board->stop && (fds[n] = fixture_connect(&f)) >= 0)
		n++, blow();
	while (n)
		close(fds[--n]);
}

static void connect_and_die(uint64_t *random)
{
	struct heapd_message m;
	pid_t pid = fork();
	int fd;

	if (pid == 0) {
		fd = fixture_connect(&f);
		fixture_hello(&m, FIXTURE_HEAP, 0);
		if (fd >= 0)
			send_to(fd, &m, random_next(random) % 2 ? sizeof(m) : sizeof(m) / 2, 0);
		raise(SIGKILL);
	}
	random_next(random);
	waitpid(pid, NULL, 0);
	blow();
}

/* Of any size, and of the right size with anything in it. */
static void send_nonsense(uint64_t *random)
{
	static uint64_t bytes[1024];
	struct heapd_message m;
	int fd = fixture_connect(&f);

	fixture_hello(&m, FIXTURE_HEAP, 0);
	if (fd >= 0 && random_next(random) % 2)
		send_to(fd, &m, sizeof(m), 0);
	for (unsigned i = 0; fd >= 0 && i < 20; i++) {
		size_t n = random_next(random) % 4 ? sizeof(m) : random_next(random) % sizeof(bytes);

		for (unsigned w = 0; w < n / 8; w++)
			bytes[w] = random_next(random) >> random_next(random) % 64;
		if (send_to(fd, bytes, n, 0) == -EPIPE)
			break;
		blow();
	}
	if (fd >= 0)
		close(fd);
}

static void send_and_never_read(uint64_t *random)
{
	struct heapd_message m;
	struct fixture_fds fds = { .n = 0 };
	int fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, &fds);

	(void)random;
	fixture_close(&fds);
	if (fd < 0)
		return;
	m = (struct heapd_message){ .op = HEAPD_OP_HEAPS };
	for (unsigned i = 0; i < 2000 && !board->stop; i++) {
		int r = send_to(fd, &m, sizeof(m), 0);

		if (r == -EPIPE)
			break;
		if (r == -EAGAIN)
			usleep(500);
		blow();
	}
	close(fd);
}

static void send_descriptors(uint64_t *random)
{
	struct heapd_message m = { .op = HEAPD_OP_HEAPS };
	int fd = fixture_connect(&f);

	for (unsigned i = 0; fd >= 0 && i < 20; i++) {
		send_to(fd, &m, random_next(random) % 4 ? sizeof(m) : 0,
			1 + (unsigned)(random_next(random) % RIGHTS));
		blow();
	}
	if (fd >= 0)
		close(fd);
}

/* Until it is told why it gets no more. */
static void take_sessions(uint64_t *random)
{
	struct heapd_message m;
	int fds[2 * SESSIONS], fd;
	unsigned n = 0;

	(void)random;
	while (n < 2 * SESSIONS && (fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL)) >= 0)
		fds[n++] = fd;
	if (n < 2 * SESSIONS && fd == -EUSERS) {
		memcpy(board->said, m.text, sizeof(board->said));
		board->capped++;
	}
	while (n)
		close(fds[--n]);
	blow();
}

static void (*const ways[])(uint64_t *random) = { connect_many,        connect_and_die,  send_nonsense,
						  send_and_never_read, send_descriptors, take_sessions };
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static int abuse(void *arg)
{
	const size_t *way = arg;
	uint64_t random = seed + *way * 7919;
	struct rlimit files;

	if (setgroups(0, NULL) < 0 || setgid(OTHER) < 0 || setuid(OTHER) < 0)
		return 1;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	while (!board->stop)
		ways[*way](&random);
	return 0;
}

/* The other ---------------------------------------------------------------------------------------------------------- */

static int failed_at(const char *what)
{
	fprintf(stderr, "the other: %s: %s (%s)\n", what, heapd_error(), strerror(errno));
	return 1;
}

/* Each time it attaches, and asks for something that takes a message and something that does not. */
static int use_once(void)
{
	heapd_heap *heap;
	void *large;

	if (heapd_attach(&heap, FIXTURE_HEAP, NULL) < 0)
		return failed_at("attach");
	if (!heapd_alloc(heap, 64))
		return failed_at("alloc");
	large = heapd_alloc(heap, 100000);
	if (!large)
		return failed_at("large");
	heapd_free(large);
	return heapd_detach(heap) < 0 ? failed_at("detach") : 0;
}

static int be_served(void *arg)
{
	(void)arg;
	while (!board->end) {
		uint64_t begin = fixture_now_ns(), took;

		if (use_once())
			return 1;
		took = fixture_now_ns() - begin;
		if (took > board->longest)
			board->longest = took;
		board->served++;
		usleep(1000);
	}
	return 0;
}

/* The daemon ----------------------------------------------------------------------------------------------------------- */

/* Its own memory, KiB, not that of heaps. */
static unsigned daemon_memory(void)
{
	char path[64], line[256];
	unsigned kb = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", f.daemon);
	file = fopen(path, "re");
	ck_assert_ptr_ne(file, NULL);
	while (!kb && fgets(line, sizeof(line), file))
		if (sscanf(line, "RssAnon: %u", &kb) != 1)
			kb = 0;
	fclose(file);
	return kb;
}

static void abuse_for(uint64_t ms)
{
	static size_t numbers[WAYS];
	pid_t pids[WAYS];

	board->stop = 0;
	for (size_t i = 0; i < WAYS; i++) {
		numbers[i] = i;
		pids[i] = fixture_client_fork(abuse, &numbers[i]);
	}
	usleep((useconds_t)ms * 1000);
	board->stop = 1;
	for (size_t i = 0; i < WAYS; i++)
		fixture_wait(pids[i], 0);
}

/* Ends are noticed in a moment. */
static void files_come_back(unsigned before)
{
	uint64_t begin = fixture_now_ns();
	unsigned now;

	while ((now = fixture_daemon_files(&f)) > before + READY) {
		ck_assert_msg(fixture_now_ns() - begin < 5000 * MS, "%u open files, before it were %u", now,
			      before);
		usleep(1000);
	}
}

/* In the log, each at least once. */
static const char *const said[] = { "user 40003 has 64 connections that have not attached",
				    "refused: ", "of user 40003 sent something that is not a message",
				    "it does not read" };

static bool all_was_said(void)
{
	char *log = fixture_log(&f);
	bool all = true;

	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++)
		all = all && strstr(log, said[i]);
	free(log);
	return all;
}

START_TEST(others_are_served)
{
	unsigned files, memory, after;
	pid_t other;

	if (!is_root("others_are_served"))
		return;
	/* Once to have made whatever is kept. */
	ck_assert_int_eq(use_once(), 0);
	abuse_for(ROUND_MS / 2);
	usleep(200000);
	files = fixture_daemon_files(&f);
	memory = daemon_memory();
	other = fixture_client_fork(be_served, NULL);
	/* A daemon that is slow has not answered as many in a round: nobody may have left so much unread yet. */
	for (uint64_t i = 0; i == 0 || (i < slowness() && !all_was_said()); i++)
		abuse_for(2 * ROUND_MS);
	board->end = 1;
	fixture_wait(other, 0);
	files_come_back(files);
	after = daemon_memory();
	printf("%lu blows; the other was served %lu times, at most %.1f ms; %u files, then %u; %u KiB, then %u\n",
	       (unsigned long)board->blows, (unsigned long)board->served, (double)board->longest / 1e6, files,
	       fixture_daemon_files(&f), memory, after);
	ck_assert_uint_gt(board->blows, 1000);
	ck_assert_uint_gt(board->served, 2);
	ck_assert_uint_lt(board->longest, WAIT_NS);
	ck_assert_uint_le(after, memory + SLACK_KB);
	/* What was refused was said, to whom it was refused and in the log. */
	ck_assert_uint_gt(board->capped, 0);
	ck_assert_ptr_nonnull(strstr(board->said, "MaxSessionsPerUser="));
	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++)
		ck_assert(fixture_logged(&f, said[i]));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("abuse");
	TCase *tests = tcase_create("abuse");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, others_are_served);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
