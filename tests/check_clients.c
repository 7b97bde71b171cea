/* SPDX-License-Identifier: MIT */
/* The table of clients: an object on its way to a client stays a root until the reply was sent, and received. */
#include "testheap.h"

#include <sys/socket.h>

#define OBJECT 0x110000000000ul

static struct testheap t;
static int pair[2];

static void setup(void)
{
	testheap_init(&t, 64 * MIB, 64 * MIB);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	clients_name(t.heap, 0, getpid(), -1, pair[0]);
	clients_hold(t.heap, 0, OBJECT);
}

static void teardown(void)
{
	close(pair[0]);
	close(pair[1]);
	testheap_deinit(&t);
}

static uint64_t in_flight(void)
{
	clients_arrived(t.heap);
	return t.heap->clients->slots[0].in_flight;
}

START_TEST(what_is_yet_to_be_sent_has_not_arrived)
{
	ck_assert_uint_eq(in_flight(), OBJECT);
	ck_assert_int_eq(send(pair[0], "reply", 5, 0), 5);
	clients_sent(t.heap, 0);
	ck_assert_uint_eq(in_flight(), OBJECT);
}
END_TEST

START_TEST(what_was_received_has_arrived)
{
	char reply[5];

	ck_assert_int_eq(send(pair[0], "reply", 5, 0), 5);
	clients_sent(t.heap, 0);
	ck_assert_int_eq(recv(pair[1], reply, sizeof(reply), 0), 5);
	ck_assert_uint_eq(in_flight(), 0);
	clients_hold(t.heap, 0, OBJECT);
	ck_assert_uint_eq(in_flight(), OBJECT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("clients");
	TCase *flight = tcase_create("flight");

	tcase_add_checked_fixture(flight, setup, teardown);
	tcase_add_test(flight, what_is_yet_to_be_sent_has_not_arrived);
	tcase_add_test(flight, what_was_received_has_arrived);
	suite_add_tcase(suite, flight);
	return testheap_run(suite);
}
