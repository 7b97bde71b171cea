/* SPDX-License-Identifier: MIT */
/*
 * Sessions that go over from one daemon to the next, by raw messages: who may have one, that nothing is done twice, and that
 * what a client does just then neither ends it nor holds anybody up.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "heapd/geometry.h"
#include "heapd/session.h"
#include "kept.h"
#include "suite.h"

/* Raw: a session that goes over to the next daemon. */
struct raw {
	int fd;
	uint64_t heap_id, session;
	struct heapd_session *memory; /* NULL: not mapped */
};

static void raw_attach_mapped(struct raw *raw, bool mapped)
{
	const struct heapd_directory *directory;
	struct fixture_fds fds;
	struct heapd_message m;

	raw->fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, &fds);
	ck_assert_int_ge(raw->fd, 0);
	raw->session = m.welcome.session;
	directory = mmap(NULL, sizeof(*directory), PROT_READ, MAP_SHARED, fds.fd[1], 0);
	ck_assert_ptr_ne(directory, MAP_FAILED);
	raw->heap_id = directory->id;
	munmap((void *)(uintptr_t)directory, sizeof(*directory));
	raw->memory =
		mapped ? mmap(NULL, sizeof(*raw->memory), PROT_READ | PROT_WRITE, MAP_SHARED, fds.fd[3], 0)
		       : NULL;
	ck_assert_ptr_ne(raw->memory, MAP_FAILED);
	fixture_close(&fds);
}

static void raw_attach(struct raw *raw)
{
	raw_attach_mapped(raw, false);
}

static void raw_greet(struct raw *raw, struct heapd_message *m)
{
	close(raw->fd);
	raw->fd = fixture_connect(&f);
	ck_assert_int_ge(raw->fd, 0);
	m->again.fingerprint = heapd_layout_fingerprint();
	m->again.heap_id = raw->heap_id;
	m->again.session = raw->session;
}

static int raw_again(struct raw *raw)
{
	struct heapd_message m = { .op = HEAPD_OP_HELLO_AGAIN };
	struct fixture_fds fds = { .n = 0 };

	raw_greet(raw, &m);
	ck_assert_int_eq(fixture_call(raw->fd, &m, &fds), 0);
	if (m.status == 0)
		ck_assert_uint_eq(fds.n, 1);
	fixture_close(&fds);
	return m.status;
}

static int raw_call(const struct raw *raw, struct heapd_message *m, uint32_t op, uint32_t seq, bool repeated)
{
	m->op = op;
	m->seq = seq;
	m->status = 0;
	m->repeated = repeated;
	ck_assert_int_eq(fixture_call(raw->fd, m, NULL), 0);
	return m->status;
}

static uint64_t raw_large(const struct raw *raw, uint32_t seq, bool repeated)
{
	struct heapd_message m = { .large = { .class = HEAPD_SIZECLASS_LARGE, .bytes = BIG } };

	ck_assert_int_eq(raw_call(raw, &m, HEAPD_OP_LARGE, seq, repeated), 0);
	return m.large.address;
}

/* As a library does that is told to detach just when it has asked to be taken back: it hangs up, and unmaps a moment later. */
static int leave_on_return(void *arg)
{
	struct heapd_message m = { .op = HEAPD_OP_HELLO_AGAIN };
	struct raw raw;

	(void)arg;
	raw_attach_mapped(&raw, true);
	__atomic_store_n(&raw.memory->attached, HEAPD_SESSION_ATTACHED, __ATOMIC_RELEASE);
	board->turns[0] = 1;
	while (!board->turns[1])
		sleep_ns(MS);
	__atomic_store_n(&raw.memory->attached, HEAPD_SESSION_LEFT, __ATOMIC_RELEASE);
	raw_greet(&raw, &m);
	if (send(raw.fd, &m, sizeof(m), MSG_NOSIGNAL) != (ssize_t)sizeof(m))
		return 1;
	close(raw.fd);
	while (!board->stop)
		sleep_ns(MS);
	return 0;
}

/* Nobody kills it for that. */
START_TEST(left_on_return)
{
	struct heapd_info info = HEAPD_SIZED(struct heapd_info);
	pid_t pid = fixture_client_fork(leave_on_return, NULL);
	heapd_heap *heap;

	ck_assert(becomes(&board->turns[0], 1));
	restart();
	ck_assert_int_eq(attach(&heap), 0);
	ck_assert_uint_eq(sessions(heap), 2);
	board->turns[1] = 1;
	for (unsigned i = 0; i < 10000 && sessions(heap) != 1; i++)
		sleep_ns(MS);
	ck_assert_uint_eq(sessions(heap), 1);
	board->stop = 1;
	fixture_wait(pid, 0);
	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	ck_assert_uint_eq(info.deaths, 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

static uint64_t lease_seconds(void)
{
	FILE *file = fopen("/proc/sys/fs/lease-break-time", "re");
	unsigned long seconds = 45;

	if (file) {
		ck_assert_int_eq(fscanf(file, "%lu", &seconds), 1);
		fclose(file);
	}
	return seconds;
}

/*
 * Who is of the daemon's user, as the test is here, may have a lease on what it was given to read: whoever opens that waits for so
 * long until it has ended. The next daemon opens it, and lets nobody wait who is there; who comes is told.
 */
START_TEST(a_lease_holds_nobody_up)
{
	struct fixture_fds fds = { .n = 0 }, more = { .n = 0 };
	struct heapd_message m;
	heapd_heap *heap;
	uint64_t begin, took;
	int fd;

	signal(SIGIO, SIG_IGN);
	ck_assert_int_eq(attach(&heap), 0);
	fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, &fds);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fds.fd[1], F_SETLEASE, F_WRLCK), 0);
	begin = fixture_now_ns();
	restart();
	while (heapd_sync(heap) < 0)
		sleep_ns(MS);
	took = (fixture_now_ns() - begin) / 1000000000u;
	ck_assert_msg(took < lease_seconds() / 2, "it took %" PRIu64 " s", took);
	close(fd);
	fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, &more);
	ck_assert_int_eq(fd, -EAGAIN);
	ck_assert_ptr_nonnull(strstr(m.text, "lease"));
	ck_assert_int_eq(fcntl(fds.fd[1], F_SETLEASE, F_UNLCK), 0);
	fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, &more);
	ck_assert_msg(fd >= 0, "%s", m.text);
	close(fd);
	fixture_close(&fds);
	fixture_close(&more);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* A request that was obeyed, and whose answer was lost, is not obeyed twice; and nobody else can have the session. */
START_TEST(obeyed_once)
{
	struct heapd_message ticket = { 0 }, taken;
	uint64_t object, other;
	struct raw raw;

	raw_attach(&raw);
	object = raw_large(&raw, 5, false);
	restart();
	ck_assert_int_eq(raw_again(&raw), 0);
	ck_assert_uint_eq(raw_large(&raw, 5, true), object);
	other = raw_large(&raw, 6, true);
	ck_assert_uint_ne(other, object);
	ticket.ticket.object = other;
	ck_assert_int_eq(raw_call(&raw, &ticket, HEAPD_OP_TICKET_ISSUE, 7, false), 0);
	taken = ticket;
	taken.ticket.object = 0;
	ck_assert_int_eq(raw_call(&raw, &taken, HEAPD_OP_TICKET_TAKE, 8, false), 0);
	restart();
	ck_assert_int_eq(raw_again(&raw), 0);
	taken.ticket.object = 0;
	ck_assert_int_eq(raw_call(&raw, &taken, HEAPD_OP_TICKET_TAKE, 8, true), 0);
	ck_assert_uint_eq(taken.ticket.object, other);
	ck_assert_int_eq(raw_call(&raw, &taken, HEAPD_OP_TICKET_TAKE, 9, false), -ENOENT);
	raw.heap_id++;
	ck_assert_int_eq(raw_again(&raw), -ESTALE);
	close(raw.fd);
}
END_TEST

/* The session that a FORK gets. */
static uint64_t raw_fork(const struct raw *raw, uint32_t seq, bool repeated, struct fixture_fds *fds)
{
	struct heapd_message m = { .op = HEAPD_OP_FORK, .seq = seq, .repeated = repeated };

	ck_assert_int_eq(fixture_call(raw->fd, &m, fds), 0);
	ck_assert_int_eq(m.status, 0);
	ck_assert_uint_eq(fds->n, 3);
	return m.welcome.session;
}

/* A child's session whose making nobody heard of is found again by the number of the request; no second one is made. */
START_TEST(forked_once)
{
	struct fixture_fds first, again, other;
	heapd_heap *heap;
	struct raw raw;
	uint64_t child;

	raw_attach(&raw);
	child = raw_fork(&raw, 5, false, &first);
	restart();
	fixture_close(&first); /* not before: a child whose socket ends is gone */
	ck_assert_int_eq(raw_again(&raw), 0);
	ck_assert_uint_eq(raw_fork(&raw, 5, true, &again), child);
	ck_assert_int_eq(attach(&heap), 0);
	ck_assert_uint_eq(sessions(heap), 3);
	ck_assert_uint_ne(raw_fork(&raw, 6, true, &other), child);
	ck_assert_uint_eq(sessions(heap), 4);
	/* Its sockets are those of a child: it ends when they do. */
	fixture_close(&again);
	fixture_close(&other);
	for (unsigned ms = 0; sessions(heap) != 2 && ms < ENDS_MS; ms++)
		sleep_ns(MS);
	ck_assert_uint_eq(sessions(heap), 2);
	ck_assert_int_eq(heapd_detach(heap), 0);
	close(raw.fd);
}
END_TEST

static int take_session(void *arg)
{
	struct raw raw = *(const struct raw *)arg;

	raw.fd = -1;
	return raw_again(&raw) == -EPERM ? 0 : 1;
}

START_TEST(session_of_another)
{
	struct raw raw;

	raw_attach(&raw);
	restart();
	fixture_wait(fixture_client_fork(take_session, &raw), 0);
	ck_assert_int_eq(raw_again(&raw), 0);
	close(raw.fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("again");
	TCase *tc = tcase_create("again");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 180);
	tcase_add_test(tc, left_on_return);
	tcase_add_test(tc, a_lease_holds_nobody_up);
	tcase_add_test(tc, obeyed_once);
	tcase_add_test(tc, forked_once);
	tcase_add_test(tc, session_of_another);
	suite_add_tcase(s, tc);
	return suite_run(s);
}
