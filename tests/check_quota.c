/* SPDX-License-Identifier: MIT */
/*
 * What one user may cost the daemon: sessions, threads, pins and memory, by a fixed bound and by its share, at a new session
 * and in one that runs; with processes of several real users.
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "heapd.h"
#include "heapd/directory.h"
#include "heapd/geometry.h"
#include "heapd/session.h"
#include "quotas.h"
#include "suite.h"
#include "tool.h"
#include "users.h"

#define INHERITED 10000u /* pins of a parent */
#define FIRST     16u    /* threads that a session begins with room for */
#define FILL_MOST (UINT64_C(1) << 30)

/* Raw clients: ---------------------------------------------------------------------------------------------- */

static int take_sessions(void)
{
	struct heapd_session *core;

	while (attach_raw(&core) >= 0)
		outcomes[number].sessions++;
	return stay();
}

/* As many threads as can be had, in as many sessions as it takes. What a session says that it has is nobody's business. */
static int take_threads(void)
{
	struct outcome *mine = &outcomes[number];
	struct heapd_session *core;
	int fd, got;

	while ((fd = attach_raw(&core)) >= 0) {
		uint32_t room = core->room[HEAPD_ROOM_THREADS];

		mine->sessions++;
		core->nthreads = UINT32_MAX;
		while (room < HEAPD_THREAD_MAX &&
		       (got = ask_room(fd, HEAPD_ROOM_THREADS, room + 1, HEAPD_THREAD_MAX)) > 0)
			room = (uint32_t)got;
		mine->threads += room;
	}
	return stay();
}

/*
 * _i: 0: twelve sessions: one alone gets half; the next a third of what is left, and so on; everybody something; and root the
 * rest. 1: threads, for four times 3000: the first two have their fixed bound, 3000; the third a fourth of the 6000 that are
 * left; the next a fifth of 4500, and a sixth of 3600.
 */
START_TEST(users_share_what_there_is)
{
	static const unsigned sessions[] = { 6, 2, 1, 1, 2 }, threads[] = { 3000, 3000, 1500, 900, 600 };
	const char *const limited[] = { "heap.odd.Size=64M", "heap.odd.Limit=32M", "heap.odd.Mode=0006",
					_i ? "daemon.MaxThreadsPerUser=3000" : "daemon.MaxSessions=12",
					NULL };
	pid_t pids[5];

	if (!is_root("users_share_what_there_is"))
		return;
	start(limited);
	for (unsigned i = 0; i < 5; i++)
		pids[i] = begin_user(!_i && i == 4 ? 0 : OWNER + i, _i ? take_threads : take_sessions);
	for (unsigned i = 0; i < 5; i++) {
		end_user(pids[i]);
		if (_i)
			ck_assert_msg(outcomes[i].threads == threads[i], "user %u has %u: %s", i,
				      outcomes[i].threads, outcomes[i].text);
		else
			ck_assert_msg(outcomes[i].sessions == sessions[i], "user %u has %u: %s", i,
				      outcomes[i].sessions, outcomes[i].text);
	}
	ck_assert_ptr_nonnull(strstr(outcomes[3].text, "has its share of "));
	ck_assert(fixture_logged(&f, "refused: "));
	fixture_stop(&f);
}
END_TEST

/* Parts of what a session holds that the daemon would look at: its pins, its ranges, and its threads. */
static uint64_t parts_of(int fd, uint64_t session)
{
	struct heapd_message m = { .op = HEAPD_OP_HELD };

	m.held.session = session;
	return fixture_call(fd, &m, NULL) == 0 && m.status == 0 ? m.held.parts : 0;
}

/* What a client may not ask for. */
static int ask_nonsense(void)
{
	struct heapd_session *core;
	int fd = attach_raw(&core);

	if (fd < 0 || core->room[HEAPD_ROOM_THREADS] != FIRST)
		return 1;
	if (ask_room(fd, 2, 1, 1) != -EINVAL || ask_room(fd, HEAPD_ROOM_THREADS, 2, 1) != -EINVAL ||
	    ask_room(fd, HEAPD_ROOM_THREADS, 1, HEAPD_THREAD_MAX + 1) != -EINVAL ||
	    ask_room(fd, HEAPD_ROOM_PINS, HEAPD_PIN_MAX + 1, UINT32_MAX) != -EINVAL)
		return 2;
	/* Less than there is takes nothing away. */
	if (ask_room(fd, HEAPD_ROOM_THREADS, 0, 0) != FIRST ||
	    ask_room(fd, HEAPD_ROOM_THREADS, 3, 100) != FIRST)
		return 3;
	/* What it writes to its own memory gives it nothing: nobody looks beyond what it has. */
	core->room[HEAPD_ROOM_THREADS] = HEAPD_THREAD_MAX;
	core->nthreads = UINT32_MAX;
	if (parts_of(fd, core->id) != 2 + FIRST)
		return 6;
	if (ask_room(fd, HEAPD_ROOM_THREADS, FIRST + 1, FIRST + 1) != FIRST + 1)
		return 4;
	return core->room[HEAPD_ROOM_THREADS] == FIRST + 1 ? 0 : 5;
}

START_TEST(room_cannot_be_made_up)
{
	static const char *const settings[] = { "heap.odd.Size=64M", "heap.odd.Limit=32M", NULL };

	start(settings);
	ck_assert_int_eq(ask_nonsense(), 0);
	fixture_stop(&f);
}
END_TEST

/* With the library: ----------------------------------------------------------------------------------------- */

static heapd_heap *heap;
static pthread_barrier_t barriers[8],
	*attached; /* one each time: threads that stay may not have left it yet */
static _Atomic unsigned refused;
static char said[256];

/* Threads of the odd user's process attach, and stay; of those of the others nobody is in their way. */
static void *attach_and_stay(void *arg)
{
	int r = heapd_thread_attach(heap);

	if (r == -EUSERS && strstr(heapd_error(), "MaxThreadsPerUser="))
		refused++;
	else if (r < 0)
		snprintf(said, sizeof(said), "%d: %s", r, heapd_error());
	pthread_barrier_wait(attached);
	if (arg)
		for (;;)
			pause();
	return NULL;
}

static int attach_odd(void)
{
	return heapd_attach(&heap, "odd", NULL);
}

/* n threads, and how many of them were refused; or more than n: something else was said. */
static unsigned refused_of(unsigned n, bool stay_there)
{
	pthread_t threads[64];

	refused = 0;
	said[0] = '\0';
	attached = attached ? attached + 1 : barriers;
	ck_assert_ptr_ne(attached, &barriers[sizeof(barriers) / sizeof(barriers[0])]);
	pthread_barrier_init(attached, NULL, n + 1);
	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, attach_and_stay, stay_there ? said : NULL))
			return 1000;
	pthread_barrier_wait(attached);
	for (unsigned i = 0; i < n && !stay_there; i++)
		pthread_join(threads[i], NULL);
	return said[0] ? 2000 : refused;
}

/* Twenty in all, one of them the main thread: asked for in a session that runs. */
static int twenty_threads(void)
{
	if (attach_odd() < 0 || heapd_thread_attach(heap) < 0)
		return 1;
	if (refused_of(19, false) != 0)
		return 2;
	/* Those have ended, and their places are had again; it is those that live at a time that count. */
	if (refused_of(24, false) != 5)
		return 3;
	if (refused_of(19, true) != 0)
		return 4;
	if (refused_of(1, false) != 1)
		return 5;
	/* Who has none more is served all the same. */
	if (!heapd_alloc(heap, 64) || heapd_pin(heap, heapd_alloc(heap, 64)) == NULL)
		return 6;
	return stay();
}

/* The next daemon knows what the last one gave. */
START_TEST(what_was_given_outlives_the_daemon)
{
	static const char *const settings[] = { "daemon.MaxThreadsPerUser=20", NULL };
	struct fixture_fds fds = { .n = 0 };
	struct heapd_message m;
	pid_t daemon;
	int fd;

	fixture_start_kept(&f, settings);
	daemon = fixture_kept_daemon(&f);
	ck_assert_int_eq(heapd_attach(&heap, FIXTURE_HEAP, NULL), 0);
	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	ck_assert_uint_eq(refused_of(19, true), 0);
	ck_assert_int_eq(kill(daemon, SIGKILL), 0);
	while (fixture_kept_daemon(&f) == daemon)
		usleep(1000);
	ck_assert_uint_eq(refused_of(1, false), 1);
	fd = fixture_attach(&f, FIXTURE_HEAP, 0, &m, &fds);
	ck_assert_msg(fd == -EUSERS, "another session: %d, %s", fd, m.text);
	ck_assert_int_eq(heapd_detach(heap), 0);
	ck_assert_int_eq(heapd_attach(&heap, FIXTURE_HEAP, NULL), 0);
	ck_assert_uint_eq(refused_of(19, false), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
	fixture_stop(&f);
}
END_TEST

static int no_thread_left(void)
{
	int r = attach_odd();

	return r == -EUSERS && strstr(heapd_error(), "MaxThreadsPerUser=") ? 0 : 1;
}

static int ten_threads(void)
{
	return attach_odd() == 0 && refused_of(10, false) == 0 ? 0 : 1;
}

START_TEST(a_thread_too_many_is_refused_while_running)
{
	static const char *const settings[] = { "heap.odd.Size=64M", "heap.odd.Limit=32M",
						"heap.odd.Mode=0006", "daemon.MaxThreadsPerUser=20", NULL };
	pid_t pid;

	if (!is_root("a_thread_too_many_is_refused_while_running"))
		return;
	start(settings);
	pid = begin_user(OWNER, twenty_threads);
	run_as(OWNER, NO_GROUP, no_thread_left);
	run_as(OTHER, NO_GROUP, ten_threads);
	end_user(pid);
	fixture_stop(&f);
}
END_TEST

/* Of a process's session: as many of its pins as the daemon goes through. */
static uint32_t pins_looked_at(pid_t pid)
{
	struct fixture_fds fds = { .n = 0 };
	struct heapd_message m;
	int fd = fixture_attach(&f, "odd", HEAPD_HELLO_READ_ONLY, &m, &fds);
	uint64_t next = 0;

	fixture_close(&fds);
	for (;;) {
		m = (struct heapd_message){ .op = HEAPD_OP_SESSION };
		m.session.id = next;
		if (fixture_call(fd, &m, NULL) < 0 || m.status < 0 || !m.session.id)
			return 0;
		if ((pid_t)m.session.pid == pid)
			return m.session.pins;
		next = m.session.id;
	}
}

/* A child has the place of the thread that forked, wherever that is, and its parent's pins. */
static int child_uses_heap(void)
{
	void *p = heapd_alloc(heap, 64);

	/* Before it could ask for room itself. */
	if (pins_looked_at(getpid()) < INHERITED)
		return 2;
	return p && heapd_pin(heap, p) && refused_of(3, false) == 0 ? 0 : 1;
}

static void *fork_here(void *arg)
{
	pid_t *pid = arg;

	if (heapd_thread_attach(heap) == 0)
		*pid = fork();
	if (*pid == 0)
		_exit(child_uses_heap());
	return NULL;
}

static int fork_from_a_late_thread(void)
{
	pthread_t thread;
	pid_t pid = -1;
	int status;

	if (attach_odd() < 0 || refused_of(30, true) != 0)
		return 1;
	for (unsigned i = 0; i < INHERITED; i++)
		if (!heapd_pin(heap, heapd_alloc(heap, 16)))
			return 2;
	if (pthread_create(&thread, NULL, fork_here, &pid) || pthread_join(thread, NULL))
		return 3;
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 4;
	return WIFEXITED(status) ? 10 * WEXITSTATUS(status) : 5;
}

START_TEST(a_child_has_room_for_what_it_inherits)
{
	static const char *const settings[] = { "heap.odd.Size=64M", "heap.odd.Limit=32M",
						"heap.odd.Mode=0006", NULL };

	start(settings);
	ck_assert_int_eq(fork_from_a_late_thread(), 0);
	fixture_stop(&f);
}
END_TEST

/* Pins until there are no more: how many; none of those that there are is lost. */
static unsigned pin_all(unsigned most)
{
	unsigned n = 0;

	while (n < most && heapd_pin(heap, heapd_alloc(heap, 16)))
		n++;
	return n;
}

/* A mebibyte has 131072 pins, less what the head and the threads take: two pages in sixteen hundred, and sixteen pages. */
static int pins_of_a_mebibyte(void)
{
	struct outcome *mine = &outcomes[number];

	if (attach_odd() < 0)
		return 1;
	void *first = heapd_pin(heap, heapd_alloc(heap, 16));
	mine->pins = 1 + pin_all(200000);
	if (errno != EUSERS)
		return 2;
	snprintf(mine->text, sizeof(mine->text), "%s", heapd_error());
	/* One that ends makes room for one, and for no more. */
	if (heapd_unpin(first) < 0 || pin_all(2) != 1 || errno != EUSERS)
		return 3;
	return stay();
}

static int some_pins(void)
{
	return attach_odd() == 0 && pin_all(50000) == 50000 ? 0 : 1;
}

START_TEST(memory_of_sessions_is_bounded_while_running)
{
	static const char *const settings[] = { "heap.odd.Size=64M", "heap.odd.Limit=48M",
						"heap.odd.Mode=0006", "daemon.MaxBytesPerUser=1M", NULL };
	const unsigned most = ((1u << 20) - (1 + FIRST) * 4096) / 8;
	pid_t pid;

	if (!is_root("memory_of_sessions_is_bounded_while_running"))
		return;
	start(settings);
	pid = begin_user(OWNER, pins_of_a_mebibyte);
	ck_assert_ptr_nonnull(strstr(outcomes[0].text, "MaxBytesPerUser="));
	/* The library touches more than it has asked for: never more than is given. */
	ck_assert_msg(outcomes[0].pins > 4096 && outcomes[0].pins <= most, "%u pins", outcomes[0].pins);
	run_as(OTHER, NO_GROUP, some_pins);
	end_user(pid);
	fixture_stop(&f);
}
END_TEST

/* Of what nobody gave it, more than all of its threads could have. */
static int fill_session(void)
{
	struct heapd_session *core;
	int fd = attach_raw(&core);
	char byte;

	if (fd < 0)
		return 1;
	/* It may not come to the end of that. */
	outcomes[number].done = 1;
	for (uint64_t at = 0; at < (64ul << 20); at += 4096)
		((char *)core + HEAPD_SESSION_PUBLISHED_AT)[at] = 1;
	/* Its socket ends, or its process does before it sees that. */
	return recv(fd, &byte, 1, 0) == 0 ? 0 : 2;
}

/* Until whoever has taken more than it was given has been ended, others may be told that their share is used up. */
static int some_pins_in_the_end(void)
{
	unsigned n = attach_odd() == 0 ? pin_all(50000) : 0;

	while (n && n < 50000 && errno == EUSERS) {
		usleep(10000);
		n += pin_all(50000 - n);
	}
	return n == 50000 ? 0 : 1;
}

/* The daemon is root's here, and may kill. */
START_TEST(who_takes_what_it_was_not_given_is_ended)
{
	static const char *const settings[] = { "heap.odd.Size=64M", "heap.odd.Limit=16M",
						"heap.odd.Mode=0006", "daemon.MaxBytesPerUser=1M", NULL };
	struct process honest = { OTHER, NO_GROUP, some_pins_in_the_end };
	pid_t pid;

	if (!is_root("who_takes_what_it_was_not_given_is_ended"))
		return;
	start(settings);
	pid = begin_user(OWNER, fill_session);
	fixture_wait(fixture_client_fork(become, &honest), 0);
	ck_assert(fixture_logged(&f, "has outgrown MaxBytesPerUser="));
	fixture_wait(pid, -SIGKILL);
	fixture_stop(&f);
}
END_TEST

#define TRIES     5u
#define ANSWER_MS 2000u

/* Goes on taking until it is ended: what it had by then. */
static int fill_without_end(void)
{
	struct heapd_session *core;
	uint64_t at = 0, step = 1ul << 20;
	int fd = attach_raw(&core);
	char byte;

	outcomes[number].done = fd >= 0;
	while (fd >= 0 && recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) {
		madvise((char *)core + HEAPD_SESSION_PUBLISHED_AT + at % FILL_MOST, step,
			MADV_POPULATE_WRITE);
		at += step;
		outcomes[number].bytes = at;
	}
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* How long a process with a session of its own, and all that it can have of it, lives. */
static uint64_t life_of_taker(void)
{
	struct process taker = { OWNER, NO_GROUP, fill_without_end };
	uint64_t begin = now_ms();
	pid_t pid;

	number = 0;
	outcomes[0] = (struct outcome){ 0 };
	pid = fixture_client_fork(become, &taker);
	fixture_wait(pid, -SIGKILL);
	return now_ms() - begin;
}

/*
 * It is seen soon, and not only now and then. The next one comes when the last one has just been seen, so where nobody looks
 * for seconds, no try is short but by chance the first; on a machine that is slow some are.
 */
START_TEST(it_is_seen_soon)
{
	static const char *const settings[] = { "heap.odd.Size=64M", "heap.odd.Limit=16M",
						"heap.odd.Mode=0006", "daemon.MaxBytesPerUser=1M", NULL };
	uint64_t shortest = UINT64_MAX;

	if (!is_root("it_is_seen_soon"))
		return;
	start(settings);
	life_of_taker();
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t life = life_of_taker();

		shortest = life < shortest ? life : shortest;
	}
	ck_assert(outcomes[0].done);
	ck_assert_msg(shortest < ANSWER_MS, "a session with %" PRIu64 " MiB is ended after %" PRIu64 " ms",
		      outcomes[0].bytes >> 20, shortest);
	fixture_stop(&f);
}
END_TEST

static Suite *quota_suite(void)
{
	Suite *suite = suite_create("quota");
	TCase *tcase = tcase_create("quota"), *late = tcase_create("late");

	tcase_set_timeout(tcase, 90);
	tcase_add_loop_test(tcase, users_share_what_there_is, 0, 2);
	tcase_add_test(tcase, room_cannot_be_made_up);
	tcase_add_test(tcase, a_thread_too_many_is_refused_while_running);
	tcase_add_test(tcase, what_was_given_outlives_the_daemon);
	tcase_add_test(tcase, memory_of_sessions_is_bounded_while_running);
	tcase_add_test(tcase, who_takes_what_it_was_not_given_is_ended);
	tcase_add_test(tcase, it_is_seen_soon);
	suite_add_tcase(suite, tcase);
	/* By a thread that is not the first. */
	tcase_set_timeout(late, 90);
	tcase_set_tags(late, "forks");
	tcase_add_test(late, a_child_has_room_for_what_it_inherits);
	suite_add_tcase(suite, late);
	return suite;
}

int main(void)
{
	return suite_run(quota_suite());
}
