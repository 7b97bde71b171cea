/* SPDX-License-Identifier: MIT */
/* What a connection may say, and when: requests before their time, nonsense, descriptors that nobody asked for, and silence. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"
#include "numbers.h"
#include "raw.h"
#include "suite.h"

static struct fixture f;

static void setup(void)
{
	static const char *const settings[] = { "heap.reading.Size=64M", "heap.open.Size=64M",
						"daemon.MaxSessions=8", NULL };

	fixture_start(&f, settings);
}

static void teardown(void)
{
	fixture_stop(&f);
}

START_TEST(heaps_are_told_before_hello)
{
	struct heapd_message m = { 0 };
	int fd = fixture_connect(&f);

	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_HEAPS), 0);
	ck_assert_uint_eq(m.heaps.count, 3);
	ck_assert_uint_eq(m.heaps.next, 0);
	m.heaps.next = UINT32_MAX;
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_HEAPS), 0);
	ck_assert_uint_eq(m.heaps.count, 0);
	close(fd);
}
END_TEST

START_TEST(requests_come_after_hello)
{
	struct heapd_message m = { 0 };
	int fd = fixture_connect(&f);

	for (uint32_t op = 0; op < HEAPD_OP_COUNT + 2u; op++) {
		if (op == HEAPD_OP_HELLO || op == HEAPD_OP_HEAPS)
			continue;
		bool greets = op == HEAPD_OP_HELLO_CHILD || op == HEAPD_OP_HELLO_AGAIN;

		ck_assert_int_eq(raw_call(fd, &m, op), greets ? -EPROTO : -ENOTCONN);
		ck_assert_str_ne(m.text, "");
	}
	fixture_hello(&m, FIXTURE_HEAP, 0);
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_HELLO), 0);
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_HELLO), -EISCONN);
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_NONE), -EPROTO);
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_COUNT), -EPROTO);
	ck_assert_int_eq(raw_call(fd, &m, 0xffffffff), -EPROTO);
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_COLLECT), -EOPNOTSUPP);
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_PATH), -EINVAL);
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_SYNC), 0);
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_BYE), 0);
	ck_assert_int_eq(fixture_receive(fd, &m, NULL), -ECONNRESET);
	close(fd);
}
END_TEST

/* Anything but one message of the right size ends the connection, and nothing else. */
START_TEST(malformed_messages_end_the_session)
{
	static const size_t sizes[] = { 0, 1, 16, 1023, 1025, 4096 };
	char bytes[4096] = { HEAPD_OP_GET };
	struct heapd_message m;

	for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		int fd = i % 2 ? fixture_connect(&f) : raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, NULL);

		ck_assert_int_eq(send(fd, bytes, sizes[i / 2], 0), (ssize_t)sizes[i / 2]);
		ck_assert_int_eq(fixture_receive(fd, &m, NULL), -ECONNRESET);
		close(fd);
	}
	ck_assert(fixture_logged(&f, "is not a message"));
}
END_TEST

/* Bytes of all kinds: small numbers, large ones, names, noise. */
static void fill_randomly(struct heapd_message *m, uint64_t *seed)
{
	unsigned char *bytes = (unsigned char *)m;

	for (size_t i = 0; i < sizeof(*m); i += 8) {
		uint64_t word = random_next(seed);

		word >>= random_next(seed) % 8 * 8;
		if (random_next(seed) % 4 == 0)
			word = random_next(seed) % 4;
		memcpy(bytes + i, &word, 8);
	}
	m->op = (uint32_t)(random_next(seed) % (HEAPD_OP_COUNT + 2u));
	if (m->op == HEAPD_OP_LARGE)
		m->large.bytes %= 1u << 22;
	if (random_next(seed) % 2)
		snprintf(m->bytes, sizeof(m->bytes), "name%u", (unsigned)(random_next(seed) % 4));
}

/* Each nonsense gets its reply; the heap stays whole, which teardown verifies. */
START_TEST(nonsense_of_the_right_size_is_answered)
{
	uint64_t seed = fixture_seed();
	struct heapd_message m;
	int fd = -1;

	for (int i = 0; i < 3000; i++) {
		if (fd < 0)
			fd = raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, NULL);
		fill_randomly(&m, &seed);
		uint32_t op = m.op;
		ck_assert_int_eq(fixture_call(fd, &m, NULL), 0);
		ck_assert(m.status <= 0);
		if (op == HEAPD_OP_BYE) {
			close(fd);
			fd = -1;
		}
	}
	close(fd);
}
END_TEST

START_TEST(descriptors_of_clients_are_not_taken)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(4 * sizeof(int))] = { 0 };
	struct heapd_message m;
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	int four[4] = { 0, 1, 2, 0 }, fd = raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, NULL);
	unsigned before;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(four));
	memcpy(CMSG_DATA(c), four, sizeof(four));
	m = (struct heapd_message){ .setting.key = "heap.name" };
	ck_assert_int_eq(raw_call(fd, &m, HEAPD_OP_GET), 0);
	before = fixture_daemon_files(&f);
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(sendmsg(fd, &h, 0), sizeof(m));
		ck_assert_int_eq(fixture_receive(fd, &m, NULL), 0);
		ck_assert_int_eq(m.status, 0);
	}
	ck_assert_uint_eq(fixture_daemon_files(&f), before);
	close(fd);
}
END_TEST

START_TEST(client_that_does_not_read_is_dropped)
{
	struct heapd_message m = { .op = HEAPD_OP_GET, .setting.key = "heap.name" };
	int fd, other, i = 0;

	fd = raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, NULL);
	other = raw_attach(&f, FIXTURE_HEAP, 0, 0, &m, NULL);
	m = (struct heapd_message){ .op = HEAPD_OP_GET, .setting.key = "heap.name" };
	while (i < 100000 && send(fd, &m, sizeof(m), MSG_NOSIGNAL) > 0)
		i++;
	ck_assert_int_lt(i, 100000);
	ck_assert(fixture_logged(&f, "it does not read"));
	ck_assert_int_eq(raw_call(other, &m, HEAPD_OP_GET), 0);
	close(fd);
	close(other);
}
END_TEST

START_TEST(crowd_of_silent_connections_is_kept_out)
{
	static const struct timeval patience = { .tv_sec = 5 };
	struct heapd_message m = { 0 };
	int fds[64], fd;

	for (int i = 0; i < 64; i++)
		fds[i] = fixture_connect(&f);
	ck_assert_int_eq(raw_call(fds[63], &m, HEAPD_OP_GET), -ENOTCONN);
	fd = fixture_connect(&f);
	/* At once, and not when its time to say hello has passed. */
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	ck_assert_int_eq(fixture_receive(fd, &m, NULL), -ECONNRESET);
	close(fd);
	for (int i = 0; i < 64; i++)
		close(fds[i]);
	/* Once they have been noticed to be gone, there is room again. */
	do
		fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, NULL);
	while (fd == -ECONNRESET && usleep(1000) == 0);
	ck_assert_int_ge(fd, 0);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("connection");
	TCase *tcase = tcase_create("connection");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, heaps_are_told_before_hello);
	tcase_add_test(tcase, requests_come_after_hello);
	tcase_add_test(tcase, malformed_messages_end_the_session);
	tcase_add_test(tcase, nonsense_of_the_right_size_is_answered);
	tcase_add_test(tcase, descriptors_of_clients_are_not_taken);
	tcase_add_test(tcase, client_that_does_not_read_is_dropped);
	tcase_add_test(tcase, crowd_of_silent_connections_is_kept_out);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
