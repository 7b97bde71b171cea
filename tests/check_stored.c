/* SPDX-License-Identifier: MIT */
/* What one daemon stores for the next: which heaps it finds, whose they are, and what is kept beside them. */
#include <sys/wait.h>

#include "daemon/peer.h"
#include "daemon/roots.h"
#include "daemon/session.h"
#include "recovery.h"

static struct store_item items[4];
static struct store store;

static void store_fill(unsigned n)
{
	static const char *const names[] = { "heap.test.ledger", "heap.test.heap", "heap.test.directory",
					     "heap.test.control" };
	const int fds[] = { files.ledger, files.heap, files.directory, files.control };

	store = (struct store){ .log = &t.log, .items = items, .listener = -1 };
	for (unsigned i = 0; i < n; i++) {
		snprintf(items[i].name, sizeof(items[i].name), "%s", names[i]);
		items[i].fd = copy(fds[i]);
	}
	store.nitems = n;
}

static int find(struct heap_plan *plan, struct heap_files *found)
{
	*plan = (struct heap_plan){ .config = &t.config, .log = &t.log };
	return recover_find(&store, "test", plan, found);
}

START_TEST(what_is_stored)
{
	struct heap_plan plan;
	struct heap_files found;
	struct ledger ledger;

	testheap_start(&t);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	store_fill(0);
	ck_assert_int_eq(find(&plan, &found), 0);
	/* Nobody can have attached. */
	store_fill(4);
	ck_assert_int_eq(find(&plan, &found), 0);
	ck_assert_uint_eq(store.nitems, 0);

	ledger.head->complete = 1;
	store_fill(4);
	ck_assert_int_eq(find(&plan, &found), 1);
	ck_assert_uint_eq(plan.base, t.heap->t.base);
	ck_assert_int_eq(memcmp(&plan.geometry, &t.heap->geometry, sizeof(plan.geometry)), 0);
	store_fill(3);
	ck_assert_int_eq(find(&plan, &found), -ENODATA);
	ck_assert(testheap_logged(&t, "only 3 of its 4 memory files"));

	ledger.head->fingerprint++;
	store_fill(4);
	ck_assert_int_eq(find(&plan, &found), -EPROTO);
	ck_assert(testheap_logged(&t, "laid out by another build"));
	ledger.head->fingerprint--;
	adopt();
}
END_TEST

/* While some heap is not configured, a session's memory may be of it, unless nobody has ever had it. */
START_TEST(memory_that_nobody_had)
{
	struct heapd_session head = { .magic = HEAPD_SESSION_MAGIC };
	int new = memfd_create("new", MFD_CLOEXEC), used = memfd_create("used", MFD_CLOEXEC);

	ck_assert_int_eq(ftruncate(new, HEAPD_SESSION_CORE), 0);
	ck_assert_int_eq(pwrite(used, &head, sizeof(head), 0), sizeof(head));
	store = (struct store){ .log = &t.log, .items = items, .nitems = 2, .listener = -1 };
	items[0] = (struct store_item){ .name = "session.1", .fd = new };
	items[1] = (struct store_item){ .name = "session.2", .fd = used };
	ck_assert_uint_eq(store_drop(&store, "session.", sessionmemory_is_new), 1);
	ck_assert_int_eq(store_take(&store, "session.2"), used);
	ck_assert_int_eq(store_take(&store, "session.1"), -ENOENT);
	ck_assert_int_lt(fcntl(new, F_GETFD), 0);
	close(used);
}
END_TEST

/* One ledger, one daemon. */
START_TEST(ledger_is_locked)
{
	pid_t pid;
	int status;

	ck_assert_int_eq(recover_lock(t.heap), 0);
	pid = fork();
	if (pid == 0)
		_exit(recover_lock(t.heap) == -EBUSY ? 0 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(tickets_are_kept)
{
	struct heapd_ticket ticket = { 0 };
	struct ledger ledger;
	struct refusal why;
	uint64_t object;
	bool zeroed;

	testheap_start(&t);
	ck_assert_int_eq(roots_init(t.heap), 0);
	ck_assert_int_eq(supply_large(t.heap, HEAPD_SIZECLASS_LARGE, MIB, 8, 0, &object, &zeroed), 0);
	ticket.object = object;
	ck_assert_int_eq(roots_ticket_issue(t.heap, &ticket, clock_ns(), &why), 0);
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	ledger.head->complete = 1;
	roots_deinit(t.heap);
	forget();
	adopt();
	ck_assert_int_eq(roots_init(t.heap), 0);
	ck_assert_uint_eq(roots_tickets(t.heap), 1);
	ticket.object = 0;
	ck_assert_int_eq(roots_ticket_take(t.heap, 0, &ticket, clock_ns(), &why), 0);
	ck_assert_uint_eq(ticket.object, object);
	ck_assert_uint_eq(roots_tickets(t.heap), 0);
	ck_assert_int_eq(roots_ticket_take(t.heap, 0, &ticket, clock_ns(), &why), -ENOENT);
	roots_deinit(t.heap);
}
END_TEST

/* A number that was given to another process is noticed. */
START_TEST(reused_pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	uint64_t mark = peer_mark(getpid(), pidfd);
	struct peer peer;

	ck_assert_uint_gt(mark, 0);
	ck_assert_int_eq(peer_of_record(getpid(), mark, getuid(), &peer), 0);
	peer_release(&peer);
	ck_assert_int_eq(peer_of_record(getpid(), mark - 1, getuid(), &peer), -ESRCH);
	close(pidfd);
}
END_TEST

static Suite *stored_suite(void)
{
	Suite *suite = suite_create("stored");
	TCase *tc = tcase_create("stored");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, what_is_stored);
	tcase_add_test(tc, memory_that_nobody_had);
	tcase_add_test(tc, ledger_is_locked);
	tcase_add_test(tc, tickets_are_kept);
	tcase_add_test(tc, reused_pid);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return testheap_run(stored_suite());
}
