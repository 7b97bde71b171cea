/* SPDX-License-Identifier: MIT */
/*
 * Events: who asked is told, in time and once, and nobody else is; what nobody took becomes one with the next of its kind.
 */
#include "collected.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/thread.h"
#include "heapd/message.h"

#define MANY   200u
#define MS_MAX 5000

struct thing {
	heapd_ptr(struct thing) next;
	uint64_t value[7];
};

static heapd_type *things;

static void start(const char *limit)
{
	const char *settings[] = { "heap.test.GCPercent=100", "heap.test.GCInterval=off", limit, NULL };

	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	things = heapd_type_define(heap, "thing", struct thing, next);
	ck_assert_ptr_nonnull(things);
}

static void setup(void)
{
	start(NULL);
}

static bool readable(int ms)
{
	struct pollfd p = { .fd = heapd_event_fd(heap), .events = POLLIN };

	ck_assert_int_ge(p.fd, 0);
	return poll(&p, 1, ms) == 1;
}

/* The next event, waited for; of others than this kind none comes before it. */
static struct heapd_event event_wait(int kind)
{
	struct heapd_event e = HEAPD_SIZED(e);
	int r;

	do {
		ck_assert_msg(readable(MS_MAX), "no event of kind %d", kind);
		r = heapd_event_next(heap, &e);
		ck_assert_int_ge(r, 0);
	} while (!r);
	ck_assert_int_eq(e.kind, kind);
	return e;
}

/* Events of that kind that wait, others dropped. */
static unsigned events_drain(int kind)
{
	struct heapd_event e = HEAPD_SIZED(e);
	unsigned n = 0;

	while (heapd_event_next(heap, &e) == 1)
		n += e.kind == kind;
	return n;
}

START_TEST(cycles_are_told)
{
	uint64_t last = 0;

	ck_assert(!readable(0));
	for (unsigned i = 0; i < 3; i++) {
		ck_call(heapd_collect(heap));
		struct heapd_event e = event_wait(HEAPD_EVENT_CYCLE);
		ck_assert_uint_eq(e.number, last + 1);
		ck_assert_uint_eq(e.number, heap->t.directory->cycle.finished);
		ck_assert_ptr_null(e.type);
		last = e.number;
		ck_assert(!readable(50));
	}
}
END_TEST

START_TEST(what_was_before_is_not_told)
{
	ck_call(heapd_collect(heap));
	ck_assert(!readable(100));
	ck_assert_uint_eq(events_drain(HEAPD_EVENT_CYCLE), 0);
}
END_TEST

START_TEST(what_nobody_took_becomes_one)
{
	struct heapd_event e;

	ck_assert_int_ge(heapd_event_fd(heap), 0);
	for (unsigned i = 0; i < 40; i++)
		ck_call(heapd_collect(heap));
	ck_assert(readable(MS_MAX));
	usleep(50000);
	e = event_wait(HEAPD_EVENT_CYCLE);
	ck_assert_uint_eq(e.number, 40);
	ck_assert(!readable(50));
}
END_TEST

/* Nothing is sent to who has not asked. */
START_TEST(nobody_is_bothered)
{
	struct heapd_message m = { 0 };
	struct fixture_fds fds;
	int socket = fixture_attach(&fixture, FIXTURE_HEAP, HEAPD_HELLO_READ_ONLY, &m, &fds), notify;
	struct heapd_session *session;

	ck_assert_int_ge(socket, 0);
	notify = fds.fd[fds.n - 1];
	session = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds.fd[fds.n - 2], 0);
	ck_assert_ptr_ne(session, MAP_FAILED);
	session->ranges_cycle = 1; /* its answer to the scan */
	ck_call(heapd_collect(heap));
	usleep(20000);
	while (recv(notify, &m, sizeof(m), MSG_DONTWAIT) > 0)
		ck_assert_int_ne(m.op, HEAPD_NOTE_EVENT);
	session->events = 1;
	session->ranges_cycle = 2;
	ck_call(heapd_collect(heap));
	usleep(20000);
	while (m.op != HEAPD_NOTE_EVENT)
		ck_assert_int_gt(recv(notify, &m, sizeof(m), MSG_DONTWAIT), 0);
	munmap(session, 4096);
	fixture_close(&fds);
	close(socket);
}
END_TEST

static __attribute__((noinline)) void things_drop(void)
{
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_ptr_nonnull(heapd_new(things, struct thing));
}

START_TEST(the_dead_are_told_of)
{
	struct heapd_event e;

	ck_call(heapd_type_watch_dead(things));
	ck_assert(!readable(0));
	things_drop();
	stack_wipe();
	ck_call(heapd_collect(heap));
	e = event_wait(HEAPD_EVENT_DEAD);
	ck_assert_ptr_eq(e.type, things);
	ck_assert_ptr_nonnull(heapd_type_next_dead(e.type));
	event_wait(HEAPD_EVENT_CYCLE);
}
END_TEST

/* Who asks later hears of those that wait already. */
START_TEST(the_dead_wait_for_who_asks)
{
	ck_call(heapd_type_watch_dead(things));
	things_drop();
	stack_wipe();
	ck_call(heapd_collect(heap));
	ck_assert_ptr_eq(event_wait(HEAPD_EVENT_DEAD).type, things);
}
END_TEST

START_TEST(the_daemon_goes)
{
	ck_assert(!readable(0));
	fixture_kill(&fixture, SIGKILL);
	event_wait(HEAPD_EVENT_DAEMON_AWAY);
	ck_assert(!readable(50));
	ck_call(heapd_detach(heap));
	fixture_restart(&fixture);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}
END_TEST

/* A child has events, and a descriptor, of its own under the same number. */
static int child_main(void *arg)
{
	int fd = *(int *)arg;

	if (heapd_event_fd(heap) != fd || readable(0))
		return 1;
	ck_call(heapd_collect(heap));
	event_wait(HEAPD_EVENT_CYCLE);
	return 0;
}

START_TEST(a_child_has_its_own)
{
	int fd = heapd_event_fd(heap);

	ck_call(heapd_collect(heap));
	ck_assert(readable(MS_MAX));
	fixture_wait(fixture_client_fork(child_main, &fd), 0);
	/* Of both at once, or of one after the other. */
	if (event_wait(HEAPD_EVENT_CYCLE).number == 1)
		ck_assert_uint_eq(event_wait(HEAPD_EVENT_CYCLE).number, 2);
}
END_TEST

START_TEST(what_is_refused)
{
	struct heapd_event e = { .size = 4 };

	ck_refused(heapd_event_fd(NULL), ENODEV, "no heap");
	ck_refused(heapd_event_next(heap, NULL), EINVAL, "HEAPD_SIZED");
	ck_refused(heapd_event_next(heap, &e), EINVAL, "HEAPD_SIZED");
}
END_TEST

/* Of little room ------------------------------------------------------------------------------------------------- */

struct chunk {
	heapd_ptr(struct chunk) next;
	char bytes[16000];
};

static void setup_limit(void)
{
	start("heap.test.Limit=32M");
}

/* A daemon that is late is no refusal. */
static struct chunk *chunk_new(heapd_type *type)
{
	struct chunk *c;

	do
		c = heapd_new(type, struct chunk);
	while (!c && errno == EAGAIN);
	return c;
}

static struct chunk **chunks_fill(heapd_type *type, size_t bytes)
{
	struct chunk **pin = heapd_pin(heap, (struct chunk *)NULL), *c = NULL;

	for (size_t done = 0; done < bytes && (c = chunk_new(type)); done += sizeof(*c)) {
		heapd_init(&c->next, *pin);
		heapd_store(pin, c);
	}
	if (!c)
		ck_assert_int_eq(errno, ENOMEM);
	return pin;
}

/* Refused memory is told of; what is dropped then makes room. */
START_TEST(refusal_is_told)
{
	heapd_type *type = heapd_type_define(heap, "chunk", struct chunk, next);
	struct chunk **pin;

	ck_assert(!readable(0));
	pin = chunks_fill(type, SIZE_MAX);
	ck_assert(readable(MS_MAX));
	usleep(50000);
	ck_assert_uint_eq(events_drain(HEAPD_EVENT_LOW), 1);
	ck_call(heapd_unpin(pin));
	stack_wipe();
	ck_call(heapd_collect(heap));
	ck_call(heapd_collect(heap));
	usleep(50000);
	events_drain(0);
	ck_call(heapd_collect(heap));
	usleep(50000);
	ck_assert_uint_eq(events_drain(HEAPD_EVENT_LOW), 0);
}
END_TEST

/* Also of one large object, while there is much room for others. */
START_TEST(refusal_of_a_large_one_is_told)
{
	heapd_type *type = heapd_type_define(heap, "chunk", struct chunk, next);
	struct chunk **pin = chunks_fill(type, 12ul << 20);

	ck_assert(!readable(0));
	ck_null(heapd_alloc_leaf(heap, 28ul << 20), ENOMEM);
	ck_assert(readable(MS_MAX));
	usleep(50000);
	ck_assert_uint_eq(events_drain(HEAPD_EVENT_LOW), 1);
	ck_call(heapd_unpin(pin));
}
END_TEST

/* So is a collection that leaves little, before anything is refused. */
START_TEST(little_room_is_told)
{
	heapd_type *type = heapd_type_define(heap, "chunk", struct chunk, next);
	char limit[32];
	struct chunk **pin = chunks_fill(type, 16ul << 20);

	ck_call(heapd_collect(heap));
	ck_assert(!readable(50));
	events_drain(0);
	ck_call(heapd_collect(heap));
	usleep(50000);
	ck_assert_uint_eq(events_drain(HEAPD_EVENT_LOW), 0);
	snprintf(limit, sizeof(limit), "%lu", 16ul << 20);
	ck_call(heapd_set(heap, "memory.soft_limit", limit));
	ck_call(heapd_collect(heap));
	ck_assert(readable(MS_MAX));
	usleep(50000);
	ck_assert_uint_eq(events_drain(HEAPD_EVENT_LOW), 1);
	ck_assert_uint_eq(heap->t.directory->stats.refusals, 0);
	ck_call(heapd_unpin(pin));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("event");
	TCase *plain = tcase_create("events"), *low = tcase_create("little room");

	tcase_add_checked_fixture(plain, setup, attached_stop);
	tcase_set_timeout(plain, 60);
	tcase_add_test(plain, cycles_are_told);
	tcase_add_test(plain, what_was_before_is_not_told);
	tcase_add_test(plain, what_nobody_took_becomes_one);
	tcase_add_test(plain, nobody_is_bothered);
	tcase_add_test(plain, the_dead_are_told_of);
	tcase_add_test(plain, the_dead_wait_for_who_asks);
	tcase_add_test(plain, the_daemon_goes);
	tcase_add_test(plain, a_child_has_its_own);
	tcase_add_test(plain, what_is_refused);
	suite_add_tcase(suite, plain);
	tcase_add_checked_fixture(low, setup_limit, attached_stop);
	tcase_set_timeout(low, 60);
	tcase_add_test(low, refusal_is_told);
	tcase_add_test(low, refusal_of_a_large_one_is_told);
	tcase_add_test(low, little_room_is_told);
	return attached_run(low, suite);
}
