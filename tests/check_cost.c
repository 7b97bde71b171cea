/* SPDX-License-Identifier: MIT */
/* What requests can cost the thread that serves all heaps, and what they can make it write into its log. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"
#include "fixture.h"
#include "heapd/geometry.h"
#include "heapd/session.h"
#include "raw.h"
#include "slowness.h"
#include "suite.h"

#define LINES 100u /* of a kind that attaching and detaching write, at most */

static struct fixture f;

static void setup(void)
{
	static const char *const settings[] = { "heap.small.Size=64M", "heap.small.Limit=16M", NULL };

	fixture_start(&f, settings);
}

static void teardown(void)
{
	fixture_stop(&f);
}

static int attach(const char *heap, uint32_t flags, struct fixture_fds *fds)
{
	struct heapd_message m;

	return raw_attach(&f, heap, flags, 0, &m, fds);
}

static uint64_t daemon_cpu_ns(void)
{
	struct timespec ts;
	clockid_t clock;

	ck_assert_int_eq(clock_getcpuclockid(f.daemon, &clock), 0);
	ck_assert_int_eq(clock_gettime(clock, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static unsigned lines_with(const char *text)
{
	char *log = fixture_log(&f);
	unsigned n = 0;

	for (const char *at = log; (at = strstr(at, text)); at += strlen(text))
		n++;
	free(log);
	return n;
}

/* One after the other, for a second; between them, from elsewhere, what costs nothing is answered at once. */
START_TEST(heavy_requests_get_a_quarter)
{
	static const enum heapd_op ops[] = { HEAPD_OP_VERIFY, HEAPD_OP_SYNC, HEAPD_OP_LARGE };
	int fd = attach(FIXTURE_HEAP, 0, NULL), other = attach("small", 0, NULL);
	uint64_t begin = fixture_now_ns(), cpu = daemon_cpu_ns(), percent, passed;
	unsigned n = 0;

	/* Longer where others use the processors: what is shown is the daemon's share, and that it goes on. */
	for (; (passed = fixture_now_ns() - begin) < 1000000000 || (n < 4 && passed < 15000000000); n++) {
		struct heapd_message m = { .large = { .bytes = 1ul << 29, .class = HEAPD_SIZECLASS_LARGE } };
		uint64_t asked;

		ck_assert_int_eq(raw_call(fd, &m, ops[_i]), ops[_i] == HEAPD_OP_LARGE ? -ENOMEM : 0);
		m = (struct heapd_message){ .setting.key = "memory.limit" };
		asked = fixture_now_ns();
		ck_assert_int_eq(raw_call(other, &m, HEAPD_OP_GET), 0);
		ck_assert_uint_lt(fixture_now_ns() - asked, 200000000 * slowness());
	}
	percent = (daemon_cpu_ns() - cpu) * 100 / passed;
	printf("%u requests of %u, %u %%\n", n, ops[_i], (unsigned)percent);
	ck_assert_uint_le(percent, 50);
	ck_assert_uint_gt(n, 3);
	close(fd);
	close(other);
}
END_TEST

/* Many at once, from a process that does not wait for the answers: those that follow wait in the socket. */
START_TEST(heavy_requests_wait_in_the_socket)
{
	int fd = attach(FIXTURE_HEAP, 0, NULL), other = attach(FIXTURE_HEAP, HEAPD_HELLO_READ_ONLY, NULL);
	struct heapd_message m = { .op = HEAPD_OP_VERIFY };
	uint64_t cpu, begin;
	unsigned n = 0;

	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_VERIFY), 0);
	cpu = daemon_cpu_ns();
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_VERIFY), 0);
	cpu = daemon_cpu_ns() - cpu;
	for (m.op = HEAPD_OP_VERIFY; send(fd, &m, sizeof(m), MSG_DONTWAIT) == (ssize_t)sizeof(m); n++)
		;
	ck_assert_uint_gt(n, 16);
	/* A light one of the same heap is not behind them. */
	begin = daemon_cpu_ns();
	m = (struct heapd_message){ .setting.key = "memory.limit" };
	ck_assert_int_eq(raw_call(other, &m, HEAPD_OP_GET), 0);
	ck_assert_uint_lt(daemon_cpu_ns() - begin, n / 4 * cpu);
	/* Nobody waits for these any more. */
	begin = daemon_cpu_ns();
	close(fd);
	ck_assert(fixture_logged(&f, "ended without a detach"));
	ck_assert_int_eq(m.status, 0);
	printf("%u sent, a verification costs %u us, all that was left %u us\n", n, (unsigned)cpu / 1000,
	       (unsigned)(daemon_cpu_ns() - begin) / 1000);
	close(other);
}
END_TEST

/* How long that took. */
static uint64_t timed_call(int fd, struct heapd_message *m, enum heapd_op op)
{
	uint64_t begin = fixture_now_ns();

	ck_assert_int_eq(raw_call(fd, m, op), 0);
	return fixture_now_ns() - begin;
}

/*
 * After a verification the next one waits three times as long as it took, and no large object does. Who is interrupted may
 * see anything: once is enough, where each would have waited.
 */
START_TEST(a_large_object_does_not_wait_for_verifications)
{
	int fd = attach(FIXTURE_HEAP, 0, NULL), other = attach(FIXTURE_HEAP, 0, NULL);
	double least = 1e9;

	for (unsigned i = 0; i < 20; i++) {
		struct heapd_message m = { 0 };
		uint64_t verified = timed_call(fd, &m, HEAPD_OP_VERIFY), waited;

		m = (struct heapd_message){ .large = { .bytes = 1 << 16, .class = HEAPD_SIZECLASS_LARGE } };
		waited = timed_call(other, &m, HEAPD_OP_LARGE);
		if ((double)waited / (double)verified < least)
			least = (double)waited / (double)verified;
	}
	printf("waited %.2f times as long as the verification took, at least\n", least);
	ck_assert(least < 1);
	close(fd);
	close(other);
}
END_TEST

START_TEST(readers_do_not_collect)
{
	int fd = attach(FIXTURE_HEAP, HEAPD_HELLO_READ_ONLY, NULL);
	struct heapd_message m = { .op = HEAPD_OP_SYNC };

	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_SYNC), -EROFS);
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_VERIFY), 0);
	ck_assert_uint_eq(m.verify.faults, 0);
	close(fd);
}
END_TEST

START_TEST(attaching_all_the_time_is_logged_now_and_then)
{
	for (unsigned i = 0; i < 2 * LINES; i++) {
		struct heapd_message m = { 0 };
		int fd = attach(FIXTURE_HEAP, 0, NULL);

		if (i % 2)
			ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_BYE), 0);
		close(fd);
	}
	ck_assert_uint_eq(lines_with(" attached"), LINES);
	ck_assert_uint_le(lines_with("ended without a detach"), LINES);
}
END_TEST

/* Who writes nonsense into its own session and has the heap verified causes a few lines, not one each. */
START_TEST(faults_are_logged_now_and_then)
{
	struct fixture_fds fds = { .n = 0 };
	int fd = attach(FIXTURE_HEAP, 0, &fds);
	struct heapd_session *session =
		mmap(NULL, HEAPD_SESSION_CORE, PROT_READ | PROT_WRITE, MAP_SHARED, fds.fd[3], 0);
	struct heapd_thread *thread =
		(struct heapd_thread *)(void *)((char *)session + HEAPD_SESSION_THREAD_AT);

	ck_assert_ptr_ne(session, MAP_FAILED);
	session->nthreads = UINT32_MAX;
	thread->spares[0].entry = UINT64_MAX;
	for (unsigned i = 0; i < 4 * LOG_LIMIT_BURST; i++) {
		struct heapd_message m = { 0 };

		ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_VERIFY), 0);
		ck_assert_uint_eq(m.verify.faults, 1);
	}
	thread->spares[0].entry = 0;
	ck_assert_uint_eq(lines_with("faults; the first"), LOG_LIMIT_BURST);
	fixture_close(&fds);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cost");
	TCase *tests = tcase_create("cost");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_loop_test(tests, heavy_requests_get_a_quarter, 0, 3);
	tcase_add_test(tests, heavy_requests_wait_in_the_socket);
	tcase_add_test(tests, a_large_object_does_not_wait_for_verifications);
	tcase_add_test(tests, readers_do_not_collect);
	tcase_add_test(tests, attaching_all_the_time_is_logged_now_and_then);
	tcase_add_test(tests, faults_are_logged_now_and_then);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
