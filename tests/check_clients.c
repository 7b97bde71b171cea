/* SPDX-License-Identifier: MIT */
/*
 * The table of clients: an object on its way to a client stays a root until the reply was sent, and received; and of its memory
 * nobody looks at more than it was given.
 */
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

START_TEST(rings_get_no_longer_for_who_has_all_that_it_may)
{
	uint32_t ring = clients_ring(t.heap, 0);

	clients_set_full(t.heap, 0, true);
	ck_assert(!clients_lengthen(t.heap, 1));
	ck_assert_uint_eq(clients_ring(t.heap, 0), ring);
	clients_set_full(t.heap, 0, false);
	ck_assert(clients_lengthen(t.heap, 1));
	ck_assert_uint_eq(clients_ring(t.heap, 0), 4 * ring);
}
END_TEST

/* Whoever looks through copies that it made before sees the new room, too. */
START_TEST(nobody_looks_beyond_what_was_given)
{
	const uint32_t few[2] = { 3, 5 }, more[2] = { 4, 600 };
	struct clients_view view = { 0 };
	uint32_t n;

	t.session->nthreads = t.session->npins = UINT32_MAX;
	clients_set_room(t.heap, 0, few);
	ck_assert_int_eq(clients_look(t.heap, &view), 0);
	client_threads(&view.list[0], &n);
	ck_assert_uint_eq(n, 3);
	ck_assert_uint_eq(client_pins(&view.list[0]), 5);
	clients_set_room(t.heap, 0, more);
	client_threads(&view.list[0], &n);
	ck_assert_uint_eq(n, 4);
	ck_assert_uint_eq(client_pins(&view.list[0]), 600);
	t.session->nthreads = t.session->npins = 2;
	client_threads(&view.list[0], &n);
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_eq(client_pins(&view.list[0]), 2);
	clients_view_deinit(&view);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("clients");
	TCase *flight = tcase_create("flight");

	tcase_add_checked_fixture(flight, setup, teardown);
	tcase_add_test(flight, what_is_yet_to_be_sent_has_not_arrived);
	tcase_add_test(flight, what_was_received_has_arrived);
	tcase_add_test(flight, rings_get_no_longer_for_who_has_all_that_it_may);
	tcase_add_test(flight, nobody_looks_beyond_what_was_given);
	suite_add_tcase(suite, flight);
	return testheap_run(suite);
}
