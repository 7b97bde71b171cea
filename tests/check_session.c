/* SPDX-License-Identifier: MIT */
/* Attaching, by raw messages: who is let in, and what it is given. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "heapd/geometry.h"
#include "numbers.h"
#include "raw.h"
#include "suite.h"
#include "users.h"

#define NOBODY 65534

static struct fixture f;

static void setup(void)
{
	static const char *const settings[] = {
		"heap.reading.Size=64M",
		"heap.reading.Limit=16M",
		"heap.reading.ReadOnlyUsers=65534",
		"heap.open.Size=64M",
		"heap.open.Limit=16M",
		"heap.open.AllowGroups=65533",
		"daemon.MaxSessions=8",
		NULL,
	};

	fixture_start(&f, settings);
}

static void teardown(void)
{
	fixture_stop(&f);
}

START_TEST(welcome_says_where_the_heap_lies)
{
	struct heapd_geometry g;
	struct fixture_fds fds;
	struct heapd_message m;
	int fd = raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, &fds);

	ck_assert_uint_eq(fds.n, 5);
	ck_assert_uint_eq(m.nfds, 5);
	ck_assert_uint_eq(m.welcome.fingerprint, heapd_layout_fingerprint());
	ck_assert_uint_eq(m.welcome.size, 1ul << 30);
	ck_assert_uint_eq(m.welcome.base % HEAPD_CHUNK_SIZE, 0);
	ck_assert_uint_eq(m.welcome.session_size, HEAPD_SESSION_SIZE);
	ck_assert_uint_eq(m.welcome.flags, 0);
	ck_assert(heapd_geometry_compute(&g, m.welcome.size, m.welcome.cpus));

	struct heapd_directory *d = mmap(NULL, 65536, PROT_READ, MAP_SHARED, fds.fd[1], 0);
	ck_assert_ptr_ne(d, MAP_FAILED);
	ck_assert_uint_eq(d->magic, HEAPD_DIRECTORY_MAGIC);
	ck_assert_uint_eq(d->base, m.welcome.base);
	ck_assert_str_eq(d->name, FIXTURE_HEAP);
	ck_assert_mem_eq(&d->geometry, &g, sizeof(g));
	ck_assert_uint_eq(d->stats.sessions, 1);
	ck_assert_uint_eq(d->stats.limit, 256ul << 20);
	ck_assert_uint_ne(d->id, 0);
	munmap(d, 65536);

	struct heapd_session *s = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fds.fd[3], 0);
	ck_assert_ptr_ne(s, MAP_FAILED);
	ck_assert_uint_eq(s->magic, HEAPD_SESSION_MAGIC);
	ck_assert_uint_eq(s->id, m.welcome.session);
	ck_assert_uint_eq(s->index, m.welcome.index);
	munmap(s, 4096);
	fixture_close(&fds);
	close(fd);
}
END_TEST

/* A memory file as a client gets it: sealed, private to its owner, and of that length. */
static void check_file(int fd, uint64_t size, int access)
{
	struct stat st;

	ck_assert_int_eq(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
			 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, access);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_uint_eq((uint64_t)st.st_size, size);
	ck_assert_int_eq(ftruncate(fd, 4096), -1);
}

static void check_unwritable(int fd)
{
	ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	ck_assert_int_eq(errno, EACCES);
	void *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	ck_assert_int_eq(mprotect(p, 4096, PROT_READ | PROT_WRITE), -1);
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), -1);
	munmap(p, 4096);
}

START_TEST(files_are_sealed_and_of_the_right_mode)
{
	struct heapd_geometry g;
	struct fixture_fds fds;
	struct heapd_message m;
	int fd = raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, &fds);

	ck_assert(heapd_geometry_compute(&g, m.welcome.size, m.welcome.cpus));
	check_file(fds.fd[0], g.size, O_RDWR);
	check_file(fds.fd[1], g.directory_size, O_RDONLY);
	check_unwritable(fds.fd[1]);
	check_file(fds.fd[2], g.control_size, O_RDWR);
	check_file(fds.fd[3], HEAPD_SESSION_SIZE, O_RDWR);
	fixture_close(&fds);
	close(fd);
}
END_TEST

START_TEST(read_only_session_can_write_nothing_of_the_heap)
{
	struct fixture_fds fds;
	struct heapd_message m;
	int fd = raw_attach(&f, FIXTURE_HEAP, HEAPD_HELLO_READ_ONLY, 0, &m, &fds);

	ck_assert_uint_eq(fds.n, 4);
	ck_assert_uint_eq(m.welcome.flags, HEAPD_HELLO_READ_ONLY);
	check_file(fds.fd[0], 1ul << 30, O_RDONLY);
	check_unwritable(fds.fd[0]);
	check_unwritable(fds.fd[1]);
	check_file(fds.fd[2], HEAPD_SESSION_SIZE, O_RDWR);

	m = (struct heapd_message){ .root.name = "r" };
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_ROOT_SET), -EROFS);
	m = (struct heapd_message){ .large = { .bytes = 100000, .class = HEAPD_SIZECLASS_LARGE } };
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_LARGE), -EROFS);
	m = (struct heapd_message){ .type = { .name = "t", .size = 16, .align = 8 } };
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_TYPE), -EROFS);
	fixture_close(&fds);
	close(fd);
}
END_TEST

/* What another user was given it cannot open again for more, by whatever way. */
static int nobody_reads(void)
{
	struct fixture_fds fds;
	struct heapd_message m;
	char path[64];
	int fd = fixture_attach(&f, "reading", 0, &m, NULL);

	if (fd != -EACCES || !strstr(m.text, "read-only") || !strstr(m.text, "AllowUsers="))
		return 1;
	fd = fixture_attach(&f, "reading", HEAPD_HELLO_READ_ONLY, &m, &fds);
	if (fd < 0 || fds.n != 4)
		return 2;
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fds.fd[i]);
		if (open(path, O_RDWR) >= 0 || errno != EACCES)
			return 3;
		if (mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fds.fd[i], 0) != MAP_FAILED || errno != EACCES)
			return 4;
		if (fchmod(fds.fd[i], 0666) == 0)
			return 5;
	}
	return 0;
}

START_TEST(reader_of_another_user_stays_a_reader)
{
	if (is_root("reader_of_another_user_stays_a_reader"))
		run_as(NOBODY, NOBODY, nobody_reads);
}
END_TEST

static int nobody_is_refused(void)
{
	struct heapd_message m;

	if (fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL) != -EACCES || !strstr(m.text, "AllowUsers="))
		return 1;
	if (!strstr(m.text, "65534") || !strstr(m.text, "'" FIXTURE_HEAP "'"))
		return 2;
	if (fixture_attach(&f, FIXTURE_HEAP, HEAPD_HELLO_READ_ONLY, &m, NULL) != -EACCES)
		return 3;
	if (fixture_attach(&f, "open", 0, &m, NULL) != -EACCES)
		return 4;
	/* Heaps that it may not use are not listed. */
	if (fixture_attach(&f, "missing", 0, &m, NULL) != -ENOENT || !strstr(m.text, "'reading'"))
		return 5;
	return strstr(m.text, "'open'") || strstr(m.text, "'" FIXTURE_HEAP "'") ? 6 : 0;
}

START_TEST(user_who_is_not_allowed_is_refused)
{
	if (is_root("user_who_is_not_allowed_is_refused"))
		run_as(NOBODY, NOBODY, nobody_is_refused);
}
END_TEST

static int nobody_has_the_group(void)
{
	struct heapd_message m;
	int fd = fixture_attach(&f, "open", 0, &m, NULL);

	if (fd < 0)
		return 1;
	m = (struct heapd_message){ .setting = { .key = "memory.limit", .value = "8M" } };
	m.op = HEAPD_OP_SET;
	if (fixture_call(fd, &m, NULL) < 0 || m.status != -EPERM)
		return 2;
	return 0;
}

START_TEST(supplementary_group_lets_in_and_operator_settings_stay_closed)
{
	if (is_root("supplementary_group_lets_in_and_operator_settings_stay_closed"))
		run_as(NOBODY, 65533, nobody_has_the_group);
}
END_TEST

START_TEST(other_layout_is_refused)
{
	struct heapd_message m;
	char number[32];
	int fd = fixture_connect(&f);

	fixture_hello(&m, FIXTURE_HEAP, 0);
	m.hello.fingerprint ^= 1;
	ck_assert_int_eq(fixture_call(fd, &m, NULL), 0);
	ck_assert_int_eq(m.status, -EPROTO);
	for (uint64_t flip = 0; flip < 2; flip++) {
		snprintf(number, sizeof(number), "%016lx",
			 (unsigned long)(heapd_layout_fingerprint() ^ flip));
		ck_assert_ptr_ne(strstr(m.text, number), NULL);
	}
	ck_assert_ptr_ne(strstr(m.text, "use the libheapd of the daemon's build"), NULL);
	/* The connection is as good as before. */
	fixture_hello(&m, FIXTURE_HEAP, 0);
	ck_assert_int_eq(fixture_call(fd, &m, NULL), 0);
	ck_assert_int_eq(m.status, 0);
	close(fd);
}
END_TEST

START_TEST(unknown_heap_is_refused_with_a_list)
{
	struct heapd_message m;

	raw_attach(&f, "missing", 0, -ENOENT, &m, NULL);
	ck_assert_ptr_ne(strstr(m.text, "'missing'"), NULL);
	ck_assert_ptr_ne(strstr(m.text, "'" FIXTURE_HEAP "'"), NULL);
	ck_assert_ptr_ne(strstr(m.text, "'reading'"), NULL);
	raw_attach(&f, "", 0, -EINVAL, &m, NULL);
	raw_attach(&f, "a\x1b[2Jb", 0, -EINVAL, &m, NULL);
	raw_attach(&f, FIXTURE_HEAP, 16, -EINVAL, &m, NULL);

	int fd = fixture_connect(&f);
	fixture_hello(&m, "", 0);
	memset(m.hello.heap, 'x', sizeof(m.hello.heap));
	ck_assert_int_eq(fixture_call(fd, &m, NULL), 0);
	ck_assert_int_eq(m.status, -EINVAL);
	close(fd);
}
END_TEST

START_TEST(sessions_are_capped)
{
	struct heapd_message m;
	int fds[8];

	for (int i = 0; i < 8; i++)
		fds[i] = raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, NULL);
	raw_attach(&f, FIXTURE_HEAP, 0, -EUSERS, &m, NULL);
	ck_assert_ptr_ne(strstr(m.text, "MaxSessions="), NULL);
	m = (struct heapd_message){ 0 };
	ck_assert_int_eq(raw_call(fds[3], &m, HEAPD_OP_FORK), -EUSERS);
	ck_assert_int_eq(raw_call(fds[3], &m, HEAPD_OP_BYE), 0);
	fds[3] = raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, NULL);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
}
END_TEST

START_TEST(sessions_of_one_user_are_capped)
{
	static const char *const settings[] = { "daemon.MaxSessionsPerUser=2", NULL };
	struct heapd_message m;
	int a, b;

	fixture_start(&f, settings);
	a = raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, NULL);
	b = raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, NULL);
	raw_attach(&f, FIXTURE_HEAP, 0, -EUSERS, &m, NULL);
	ck_assert_ptr_ne(strstr(m.text, "MaxSessionsPerUser="), NULL);
	close(a);
	close(b);
	fixture_stop(&f);
}
END_TEST

/* The session after that one, as fd is told: its number, or 0. */
static uint64_t session_after(int fd, uint64_t id)
{
	struct heapd_message m = { .session.id = id };

	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_SESSION), 0);
	return m.session.id;
}

static int held_of(int fd, uint64_t id)
{
	struct heapd_message m = { .held.session = id };

	return raw_call(fd, &m, HEAPD_OP_HELD);
}

/* The receipt after that one, as fd is told: its number, or 0. */
static uint64_t receipt_after(int fd, uint64_t number)
{
	struct heapd_message m = { .receipt.number = number };

	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_RECEIPT), 0);
	return m.receipt.number;
}

/* Sessions 1 and 2 are root's, as is who has died. */
static int nobody_is_told_of_its_own(void)
{
	struct heapd_message m = { 0 };
	int fd = fixture_attach(&f, "reading", HEAPD_HELLO_READ_ONLY, &m, NULL);

	if (fd < 0 || session_after(fd, 0) != 4 || session_after(fd, 4) != 0)
		return 1;
	if (held_of(fd, 2) != -ENOENT || held_of(fd, 4) != 0)
		return 2;
	if (receipt_after(fd, 0) != 0)
		return 5;
	m = (struct heapd_message){ 0 };
	if (raw_call(fd, &m, HEAPD_OP_HEAPS) != 0 || m.heaps.count > 2)
		return 3;
	for (uint32_t i = 0; i < m.heaps.count; i++)
		if (strcmp(m.heaps.names[i], "open") == 0)
			return 4;
	return 0;
}

START_TEST(who_is_attached_is_told_to_whom_it_concerns)
{
	struct heapd_message m = { 0 };
	int a = raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, NULL), b = raw_attach(&f, "reading", 0, 0, &m, NULL);

	/* Of its own heap alone. */
	ck_assert_uint_eq(session_after(a, 0), 1);
	ck_assert_uint_eq(session_after(a, 1), 0);
	ck_assert_uint_eq(session_after(b, 0), 2);
	ck_assert_uint_eq(session_after(b, UINT64_MAX), 0);
	ck_assert_int_eq(held_of(a, 1), 0);
	ck_assert_int_eq(held_of(a, 2), -ENOENT);
	ck_assert_int_eq(held_of(a, 0), -ENOENT);
	/* Of the heap that nobody may read, too. */
	close(raw_attach(&f, "reading", 0, 0, &m, NULL));
	while (!receipt_after(b, 0))
		usleep(1000);
	ck_assert_uint_eq(receipt_after(b, 1), 0);
	ck_assert_uint_eq(receipt_after(a, 0), 0);
	ck_assert_uint_eq(receipt_after(b, UINT64_MAX), 0);
	if (is_root("who_is_attached_is_told_to_whom_it_concerns"))
		run_as(NOBODY, NOBODY, nobody_is_told_of_its_own);
	close(a);
	close(b);
}
END_TEST

/* The daemon's part of attaching. The bound is loose; the figure is printed. */
START_TEST(attaching_is_quick)
{
	struct heapd_message m;
	uint64_t ns[101];

	for (size_t i = 0; i < 101; i++) {
		uint64_t begin = fixture_now_ns();
		int fd = raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, NULL);

		ns[i] = fixture_now_ns() - begin;
		raw_call(fd, &m, HEAPD_OP_BYE);
		close(fd);
	}
	qsort(ns, 101, sizeof(ns[0]), numbers_compare);
	printf("attach and welcome: median %.0f us, worst %.0f us\n", (double)ns[50] / 1e3,
	       (double)ns[100] / 1e3);
	ck_assert_uint_lt(ns[50], 5000000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session");
	TCase *tcase = tcase_create("session"), *user = tcase_create("user");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, welcome_says_where_the_heap_lies);
	tcase_add_test(tcase, files_are_sealed_and_of_the_right_mode);
	tcase_add_test(tcase, read_only_session_can_write_nothing_of_the_heap);
	tcase_add_test(tcase, reader_of_another_user_stays_a_reader);
	tcase_add_test(tcase, user_who_is_not_allowed_is_refused);
	tcase_add_test(tcase, supplementary_group_lets_in_and_operator_settings_stay_closed);
	tcase_add_test(tcase, other_layout_is_refused);
	tcase_add_test(tcase, unknown_heap_is_refused_with_a_list);
	tcase_add_test(tcase, sessions_are_capped);
	tcase_add_test(tcase, attaching_is_quick);
	tcase_add_test(tcase, who_is_attached_is_told_to_whom_it_concerns);
	tcase_add_test(user, sessions_of_one_user_are_capped);
	suite_add_tcase(suite, tcase);
	suite_add_tcase(suite, user);
	return suite_run(suite);
}
