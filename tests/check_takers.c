/* SPDX-License-Identifier: MIT */
/*
 * What the users of one heap have of it: one that takes all that it can get comes to an end of its own, and each of the others
 * finds its share, at once and whenever it comes. With processes of several real users.
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"
#include "heapd.h"
#include "suite.h"
#include "users.h"
#include "wipe.h"

#define MIB     (UINT64_C(1) << 20)
#define LIMIT   (64 * MIB)
#define SHARE   (LIMIT / 4) /* UserShare=25% */
#define USERS   4u
#define PATIENT 60000u /* ms */

static struct fixture f;

/* A process of a user, for its test to see. */
struct account {
	_Atomic uint64_t bytes, refusals; /* that it holds; that it has met */
	_Atomic int error;
	_Atomic bool full, stop;  /* it was refused once; it is to give all back, and go on */
	_Atomic bool there, wait; /* it is attached; it is not to begin yet */
	char text[256];
};

static struct account *accounts, *mine;
static heapd_heap *heap;
static size_t object_bytes;

struct link {
	heapd_ptr(struct link) next;
};

static void start(const char *const *settings, bool kept)
{
	(kept ? fixture_start_kept : fixture_start)(&f, settings);
	accounts = mmap(NULL, USERS * sizeof(*accounts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	ck_assert_ptr_ne(accounts, MAP_FAILED);
}

static void refused(void)
{
	mine->error = errno;
	if (!mine->refusals)
		snprintf(mine->text, sizeof(mine->text), "%s", heapd_error());
	mine->refusals++;
	mine->full = true;
}

static bool take_one(struct link **chain)
{
	struct link *new = heapd_alloc(heap, object_bytes);

	if (!new)
		return false;
	heapd_init(&new->next, *chain);
	heapd_store(chain, new);
	mine->bytes += object_bytes;
	return true;
}

static int enter(struct link ***chain)
{
	struct heapd_options options = HEAPD_OPTIONS_DEFAULT;

	options.supply_timeout_ms = options.request_timeout_ms = PATIENT;
	if (heapd_attach(&heap, FIXTURE_HEAP, &options) < 0) {
		mine->error = errno;
		snprintf(mine->text, sizeof(mine->text), "%s", heapd_error());
		return -1;
	}
	*chain = heapd_pin(heap, (struct link *)NULL);
	mine->there = true;
	while (mine->wait)
		usleep(1000);
	return *chain ? 0 : -1;
}

/* Takes, and holds, all that it can get, and does not give up. Told to stop, it lets go of all, once. */
static int greedy(void)
{
	struct link **chain;

	if (enter(&chain) < 0)
		return 1;
	for (;;) {
		if (mine->stop) {
			heapd_store(chain, NULL);
			stack_wipe(); /* or a word that is left there holds all of the chain */
			mine->bytes = 0;
			mine->stop = mine->full = false;
		}
		if (!take_one(chain))
			refused();
	}
}

/* Allocates, and lets go of all at once, without end. */
static int wasteful(void)
{
	struct link **chain;

	if (enter(&chain) < 0)
		return 1;
	for (;;) {
		if (!heapd_alloc(heap, object_bytes))
			refused();
		mine->bytes += object_bytes;
	}
}

/* Holds nothing, and calls nothing: a cycle waits for it only while it is stopped. */
static int idle(void)
{
	struct link **chain;

	if (enter(&chain) < 0)
		return 1;
	for (;;)
		pause();
}

/* Takes as much as is surely its own, in a while, and holds it. */
static int modest_from(struct link **chain)
{
	while (mine->bytes < SHARE * 7 / 8) {
		if (!take_one(chain)) {
			refused();
			return 1;
		}
		if (mine->bytes % (256 * object_bytes) == 0)
			usleep(100);
	}
	return 0;
}

static int modest(void)
{
	struct link **chain;

	return enter(&chain) < 0 ? 1 : modest_from(chain);
}

/* The same, in a heap in which others make garbage all the time: most of what it has is garbage of its own, too. */
static int thrifty(void)
{
	struct link **chain;

	if (enter(&chain) < 0)
		return 1;
	for (unsigned round = 0; round < 40; round++) {
		heapd_store(chain, NULL);
		for (uint64_t bytes = 0; bytes < SHARE / 4; bytes += object_bytes)
			if (!take_one(chain)) {
				refused();
				return 1;
			}
	}
	return 0;
}

/* So many bytes of garbage, with one object of 128 that stays, in half of the slabs. */
static bool litter(struct link **chain, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes / object_bytes; i++) {
		struct link *all = *chain;

		if (!take_one(chain))
			return false;
		if (i % 128)
			heapd_store(chain, all);
	}
	mine->bytes = 0;
	return true;
}

/* Has had much, lets others have it, and comes back for its share when it is told to. */
static int modest_later(void)
{
	struct link **chain;

	if (enter(&chain) < 0 || !litter(chain, LIMIT * 5 / 8))
		return 1;
	mine->full = true;
	while (!mine->stop)
		usleep(1000);
	return modest_from(chain);
}

/* Leaves 24 MiB, for which there is a name. */
static int generous(void)
{
	struct link **chain;

	if (enter(&chain) < 0)
		return 1;
	while (mine->bytes < 24 * MIB)
		if (!take_one(chain))
			return 1;
	return heapd_root_set(heap, "left", *chain) < 0 || heapd_detach(heap) < 0;
}

static pid_t begin(unsigned number, uid_t uid, int (*fn)(void))
{
	struct process p = { uid, NO_GROUP, fn };

	mine = &accounts[number];
	return fixture_client_fork(become, &p);
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
}

static void wait_for(_Atomic bool *what, bool value, const char *text)
{
	for (unsigned i = 0; *what != value && i < PATIENT; i++)
		usleep(1000);
	ck_assert_msg(*what == value, "%s: not within %u ms", text, PATIENT);
}

static void ck_well(pid_t pid, const struct account *account)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		      "refused with %llu KiB, where the others have %llu, %llu and %llu: %s",
		      (unsigned long long)(account->bytes / 1024),
		      (unsigned long long)(accounts[0].bytes / 1024),
		      (unsigned long long)(accounts[1].bytes / 1024),
		      (unsigned long long)(accounts[2].bytes / 1024), account->text);
}

static void ck_refused(const struct account *account, const char *user)
{
	ck_assert_int_eq(account->error, ENOMEM);
	ck_assert_msg(strstr(account->text, user) && strstr(account->text, "UserShare="), "%s",
		      account->text);
}

#define HEAP "heap.test.Limit=64M", "heap.test.AllowUsers=*"
static const char *const uncollected[] = { HEAP, "heap.test.UserShare=25%", NULL };
static const char *const collected[] = { HEAP, "heap.test.UserShare=25%", "heap.test.GCPercent=100", NULL };
static const char *const unshared[] = { HEAP, "heap.test.UserShare=off", "heap.test.GCPercent=100", NULL };

static const struct {
	const char *const *settings;
	size_t bytes;
} heaps[] = {
	{ collected, 64 }, { uncollected, 64 }, { collected, 3000 }, { collected, MIB }, { uncollected, MIB }
};

/* One that holds all it can get, and goes on trying; then one that comes late, and one later still. */
START_TEST(each_finds_its_share)
{
	pid_t first, second;

	if (!is_root("each_finds_its_share"))
		return;
	start(heaps[_i].settings, false);
	object_bytes = heaps[_i].bytes;
	first = begin(0, OWNER, greedy);
	wait_for(&accounts[0].full, true, "the first user's end");
	ck_refused(&accounts[0], "user 40001");
	ck_assert_uint_gt(accounts[0].bytes, LIMIT / 2);
	ck_assert_uint_le(accounts[0].bytes, LIMIT - SHARE);
	second = begin(1, MEMBER, modest);
	ck_well(second, &accounts[1]);
	end(first);
	fixture_stop(&f);
}
END_TEST

/* What heapctl shows of users. */
static unsigned users_told(int fd, struct heapd_user users[], unsigned room)
{
	struct heapd_message m = { 0 };
	unsigned n = 0;

	for (;;) {
		m.op = HEAPD_OP_USER;
		ck_assert_int_eq(fixture_call(fd, &m, NULL), 0);
		ck_assert_int_eq(m.status, 0);
		if (!m.user.next)
			return n;
		ck_assert_uint_lt(n, room);
		users[n++] = m.user;
	}
}

static int attach_to_look(void)
{
	struct fixture_fds fds = { .n = 0 };
	struct heapd_message m;
	int fd = fixture_attach(&f, FIXTURE_HEAP, HEAPD_HELLO_READ_ONLY, &m, &fds);

	ck_assert_msg(fd >= 0, "%s", m.text);
	fixture_close(&fds);
	return fd;
}

/* By somebody who is no operator: of itself alone. */
static int see_oneself_alone(void)
{
	struct heapd_user users[USERS];
	struct link **chain;
	int fd;

	if (enter(&chain) < 0)
		return 1;
	fd = attach_to_look();
	if (users_told(fd, users, USERS) != 1 || users[0].uid != MEMBER || users[0].sessions != 2)
		return 2;
	return 0;
}

/* Before anybody is short of anything, and when the first user has come to its end. */
START_TEST(what_users_have_is_told)
{
	struct heapd_user users[USERS];
	uint64_t held;
	pid_t first, second;
	int fd;

	if (!is_root("what_users_have_is_told"))
		return;
	start(uncollected, false);
	object_bytes = 1024;
	fd = attach_to_look();
	ck_assert_uint_eq(users_told(fd, users, USERS), 0);
	second = begin(1, MEMBER, modest);
	ck_well(second, &accounts[1]);
	second = begin(2, MEMBER, idle);
	wait_for(&accounts[2].there, true, "the second user");
	ck_assert_uint_eq(users_told(fd, users, USERS), 1);
	ck_assert_uint_eq(users[0].uid, MEMBER);
	ck_assert_uint_eq(users[0].sessions, 1);
	ck_assert_uint_eq(users[0].readers, 0);
	/* What its process left that is gone is its own still: nothing is collected here. */
	held = accounts[1].bytes;
	ck_assert_msg(users[0].bytes >= held && users[0].bytes < held + MIB, "%" PRIu64 " of %" PRIu64,
		      users[0].bytes, held);
	ck_assert(!users[0].full && !users[0].waits);
	ck_assert_uint_gt(users[0].share, SHARE / 2);
	ck_assert_uint_le(users[0].share, SHARE);
	ck_assert_uint_gt(users[0].session_bytes, 0);
	first = begin(0, OWNER, greedy);
	wait_for(&accounts[0].full, true, "the first user's end");
	ck_assert_uint_eq(users_told(fd, users, USERS), 2);
	ck_assert_uint_eq(users[0].uid, OWNER);
	ck_assert_uint_eq(users[1].uid, MEMBER);
	ck_assert(users[0].full && !users[1].full);
	ck_assert_uint_ge(users[0].bytes, users[0].most);
	ck_assert_uint_gt(users[1].most, users[1].bytes);
	mine = &accounts[3];
	run_as(MEMBER, NO_GROUP, see_oneself_alone);
	end(first);
	end(second);
	close(fd);
	fixture_stop(&f);
}
END_TEST

/* The test can tell: without shares the second user finds nothing. */
START_TEST(without_shares_the_first_has_all)
{
	pid_t first, second;
	int status;

	if (!is_root("without_shares_the_first_has_all"))
		return;
	start(unshared, false);
	object_bytes = 64;
	first = begin(0, OWNER, greedy);
	wait_for(&accounts[0].full, true, "the first user's end");
	ck_assert_uint_gt(accounts[0].bytes, LIMIT - SHARE);
	second = begin(1, MEMBER, modest);
	ck_assert_int_eq(waitpid(second, &status, 0), second);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	end(first);
	fixture_stop(&f);
}
END_TEST

/* A fourth is kept for each of three, and for who is not there yet: none of two gets what is kept for the third. */
START_TEST(greedy_ones_have_even_parts)
{
	pid_t pids[2], third;

	if (!is_root("greedy_ones_have_even_parts"))
		return;
	start(collected, false);
	object_bytes = 64;
	for (unsigned i = 0; i < 2; i++) {
		accounts[i].wait = true;
		pids[i] = begin(i, OWNER + i, greedy);
		wait_for(&accounts[i].there, true, "an attachment");
	}
	usleep(100000); /* the daemon looks who is there a hundred times a second */
	for (unsigned i = 0; i < 2; i++)
		accounts[i].wait = false;
	for (unsigned i = 0; i < 2; i++)
		wait_for(&accounts[i].full, true, "each user's end");
	third = begin(2, OTHER, modest);
	ck_well(third, &accounts[2]);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_gt(accounts[i].bytes, SHARE * 7 / 8);
		end(pids[i]);
	}
	fixture_stop(&f);
}
END_TEST

/* What it let go of, it can have again; also when the daemon was killed in between. */
START_TEST(who_lets_go_may_take_again)
{
	pid_t first;

	if (!is_root("who_lets_go_may_take_again"))
		return;
	start(collected, true);
	object_bytes = _i ? MIB : 64;
	first = begin(0, OWNER, greedy);
	for (unsigned round = 0; round < 3; round++) {
		wait_for(&accounts[0].full, true, "its end");
		ck_assert_uint_le(accounts[0].bytes, LIMIT - SHARE);
		ck_assert_uint_gt(accounts[0].bytes, LIMIT / 3);
		if (round == 1)
			ck_assert_int_eq(kill(fixture_kept_daemon(&f), SIGKILL), 0);
		accounts[0].stop = true;
		wait_for(&accounts[0].stop, false, "it lets go");
	}
	end(first);
	fixture_stop(&f);
}
END_TEST

/* What is left of somebody who is not there counts for nobody, but it counts. */
START_TEST(what_was_left_counts)
{
	pid_t second;

	if (!is_root("what_was_left_counts"))
		return;
	start(collected, false);
	object_bytes = 64;
	ck_well(begin(0, OWNER, generous), &accounts[0]);
	second = begin(1, MEMBER, greedy);
	wait_for(&accounts[1].full, true, "the second user's end");
	ck_refused(&accounts[1], "user 40002");
	ck_assert_uint_le(accounts[1].bytes, LIMIT - SHARE - 24 * MIB);
	ck_assert_uint_gt(accounts[1].bytes, LIMIT - SHARE - 24 * MIB - SHARE / 4);
	end(second);
	fixture_stop(&f);
}
END_TEST

/* What one had is the next one's when that has taken it: the first finds its share when it comes back. */
START_TEST(what_others_took_over_is_theirs)
{
	pid_t first, second;

	if (!is_root("what_others_took_over_is_theirs"))
		return;
	start(collected, false);
	object_bytes = 64;
	first = begin(0, OWNER, modest_later);
	wait_for(&accounts[0].full, true, "the first user's litter");
	second = begin(1, MEMBER, greedy);
	wait_for(&accounts[1].full, true, "the second user's end");
	accounts[0].stop = true;
	ck_well(first, &accounts[0]);
	end(second);
	fixture_stop(&f);
}
END_TEST

/* Three processes of one user turn all that they get into garbage; another lives on its share, and is never refused. */
START_TEST(who_wastes_waits_for_the_collector)
{
	pid_t pids[3], other;

	if (!is_root("who_wastes_waits_for_the_collector"))
		return;
	start(collected, false);
	object_bytes = 256;
	for (unsigned i = 0; i < 3; i++)
		pids[i] = begin(i, OWNER, wasteful);
	other = begin(3, MEMBER, thrifty);
	ck_well(other, &accounts[3]);
	for (unsigned i = 0; i < 3; i++)
		end(pids[i]);
	fixture_stop(&f);
}
END_TEST

static void wait_for_rest(const struct account *account)
{
	uint64_t before;

	do {
		before = account->bytes;
		usleep(50000);
	} while (account->bytes != before);
}

static void wait_for_more(const struct account *account)
{
	uint64_t before = account->bytes;

	for (unsigned i = 0; account->bytes == before && i < PATIENT; i++)
		usleep(1000);
	ck_assert_uint_ne(account->bytes, before);
}

/*
 * No cycle ends while a process is stopped, so those who make garbage come to the end of what they may have, and wait. Each time
 * it takes a cycle of that time to say that there is no more: one that has helped before says nothing.
 */
START_TEST(each_time_a_collection_is_waited_for)
{
	pid_t wasters[2], stopped;
	char *log;

	if (!is_root("each_time_a_collection_is_waited_for"))
		return;
	start(collected, false);
	object_bytes = 256;
	stopped = begin(2, OWNER, idle);
	wait_for(&accounts[2].there, true, "who is to be stopped");
	wasters[0] = begin(0, OWNER, wasteful);
	wasters[1] = begin(1, MEMBER, wasteful);
	for (unsigned round = 0; round < 5; round++) {
		kill(stopped, SIGSTOP);
		wait_for_rest(&accounts[0]);
		wait_for_rest(&accounts[1]);
		kill(stopped, SIGCONT);
		wait_for_more(&accounts[0]);
		wait_for_more(&accounts[1]);
	}
	ck_assert_uint_eq(accounts[0].refusals + accounts[1].refusals, 0);
	log = fixture_log(&f);
	ck_assert_ptr_null(strstr(log, "memory is refused"));
	free(log);
	end(wasters[0]);
	end(wasters[1]);
	end(stopped);
	fixture_stop(&f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("takers");
	TCase *tcase = tcase_create("takers");

	tcase_set_timeout(tcase, 180);
	tcase_add_loop_test(tcase, each_finds_its_share, 0, sizeof(heaps) / sizeof(heaps[0]));
	tcase_add_test(tcase, what_users_have_is_told);
	tcase_add_test(tcase, without_shares_the_first_has_all);
	tcase_add_test(tcase, greedy_ones_have_even_parts);
	tcase_add_loop_test(tcase, who_lets_go_may_take_again, 0, 2);
	tcase_add_test(tcase, what_was_left_counts);
	tcase_add_test(tcase, what_others_took_over_is_theirs);
	tcase_add_test(tcase, who_wastes_waits_for_the_collector);
	tcase_add_test(tcase, each_time_a_collection_is_waited_for);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
