/* SPDX-License-Identifier: MIT */
/*
 * The daemon's death under load, with heapd --keep: nothing is lost, no client sees an error, the heap is clean, and
 * what is garbage is found afterwards.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kept.h"
#include "numbers.h"
#include "suite.h"

#define KILLS     50u
#define WORKERS   3u
#define LIST_LONG 3000u

/* A node says what its tail holds. */
struct node {
	heapd_ptr(struct node) next;
	uint64_t value, bytes;
	unsigned char tail[];
};

static void setup_stress(void)
{
	static const char *const stress[] = { "heap.test.GCPercent=50", "heap.test.Limit=512M",
					      "heap.test.Debug=stress,poison", NULL };

	setup_with(stress);
}

static uint64_t draw(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

static struct node *node_new(heapd_type *type, uint64_t *random, struct node *next)
{
	uint64_t bytes = draw(random) % 64 ? draw(random) % 200 : draw(random) % 20000;
	struct node *node = heapd_new_flex(type, struct node, tail, bytes);

	if (!node)
		return NULL;
	node->value = draw(random);
	node->bytes = bytes;
	memset(node->tail, (int)(node->value & 0xff), bytes);
	heapd_init(&node->next, next);
	return node;
}

static bool node_is_whole(const struct node *node)
{
	for (uint64_t i = 0; i < node->bytes; i++)
		if (node->tail[i] != (node->value & 0xff))
			return false;
	return true;
}

/* The list's length, or 0 if something in it is not what it was. */
static uint64_t list_check(const struct node *node)
{
	uint64_t n = 0;

	for (; node; node = heapd_load(&node->next), n++)
		if (!node_is_whole(node))
			return 0;
	return n;
}

/* Cuts the list, and frees a few of what it cuts off: the rest is garbage. */
static void list_cut(struct node *node, uint64_t keep, uint64_t *random)
{
	struct node *rest;

	while (--keep)
		node = heapd_load(&node->next);
	rest = heapd_load(&node->next);
	heapd_store(&node->next, NULL);
	for (unsigned i = 0; rest && i < 20; i++) {
		struct node *next = heapd_load(&rest->next);

		if (draw(random) % 2)
			heapd_free(rest);
		rest = next;
	}
}

struct job {
	unsigned number;
	uint64_t turns; /* 0: until it is told to stop */
};

static heapd_type *type_find(heapd_heap *heap)
{
	return heapd_type_define_flex(heap, "node", struct node, tail, next);
}

static int grow(heapd_heap *heap, heapd_type *type, const char *name, uint64_t *random)
{
	struct node *first = heapd_root_get(heap, name, type);
	uint64_t length = list_check(first);

	if (first && !length)
		return failed_at("a node has changed");
	for (unsigned i = 0; i < 200; i++) {
		first = node_new(type, random, first);
		if (!first)
			return failed_at("allocation");
	}
	if (heapd_root_set(heap, name, first) < 0)
		return failed_at("root_set");
	if (length + 200 > LIST_LONG)
		list_cut(first, 1 + draw(random) % LIST_LONG, random);
	return 0;
}

static int work(void *arg)
{
	const struct job *job = arg;
	uint64_t random = seed + 7919u * (job->number + 1);
	char name[32];
	heapd_heap *heap;
	heapd_type *type;

	if (attach(&heap))
		return 1;
	type = type_find(heap);
	if (!type)
		return failed_at("type");
	snprintf(name, sizeof(name), "list%u", job->number);
	while (!board->stop) {
		if (grow(heap, type, name, &random))
			return 1;
		board->turns[job->number]++;
	}
	return heapd_detach(heap) < 0 ? failed_at("detach") : 0;
}

/* Each request is a message: so it sees how long the daemon is away. */
static int probe(void *arg)
{
	heapd_heap *heap;

	(void)arg;
	if (attach(&heap))
		return 1;
	while (!board->stop) {
		uint64_t begin = fixture_now_ns(), took;
		void *big = heapd_alloc(heap, BIG);

		if (!big)
			return failed_at("a large object");
		took = fixture_now_ns() - begin;
		if (took > board->longest)
			board->longest = took;
		board->answers++;
		memset(big, 0x5a, BIG);
		if (heapd_free(big) < 0)
			return failed_at("free");
		sleep_ns(MS);
	}
	return heapd_detach(heap) < 0 ? failed_at("detach") : 0;
}

static int come_and_go(void *arg)
{
	heapd_heap *heap;

	(void)arg;
	while (!board->stop) {
		if (attach(&heap))
			return 1;
		if (!heapd_alloc(heap, 64))
			return failed_at("allocation");
		if (heapd_detach(heap) < 0)
			return failed_at("detach");
		board->turns[8]++;
		sleep_ns(MS);
	}
	return 0;
}

/* The child has what its parent held, and a pin of it. */
static int child_work(heapd_heap *heap, heapd_type *type, struct node *held, uint64_t *random)
{
	struct node *own;

	if (!list_check(held))
		return failed_at("what the parent held");
	own = node_new(type, random, held);
	if (!own)
		return failed_at("a child's allocation");
	if (list_check(own) != list_check(held) + 1)
		return failed_at("a child's list");
	return heapd_collect_start(heap) < 0 ? failed_at("collect") : 0;
}

static int fork_once(heapd_heap *heap, heapd_type *type, uint64_t *random)
{
	struct node *held = NULL;
	int status;
	pid_t pid;

	for (unsigned i = 0; i < 10; i++) {
		held = node_new(type, random, held);
		if (!held)
			return failed_at("allocation");
	}
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(child_work(heap, type, held, random));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
		return failed_at("a forked child");
	return list_check(held) == 10 ? 0 : failed_at("what the child's parent held");
}

static int fork_often(void *arg)
{
	uint64_t random = seed | 1;
	heapd_heap *heap;
	heapd_type *type;

	(void)arg;
	if (attach(&heap))
		return 1;
	type = type_find(heap);
	while (type && !board->stop) {
		if (fork_once(heap, type, &random))
			return 1;
		board->turns[9]++;
		sleep_ns(MS);
	}
	return type ? 0 : failed_at("type");
}

/* A worker that is killed at any time, and whose successor finds its list. */
static int work_until_killed(void *arg)
{
	return work(arg);
}

static void print_times(uint64_t *ns, unsigned n)
{
	qsort(ns, n, sizeof(*ns), numbers_compare);
	printf("from the kill to what was asked for meanwhile: median %.1f ms, worst %.1f ms, of %u\n",
	       (double)ns[n / 2] / MS, (double)ns[n - 1] / MS, n);
}

/* Everything that the workers left is garbage by now, or held by a root. */
static void ck_is_sound(void)
{
	struct heapd_info info = HEAPD_SIZED(struct heapd_info);
	heapd_heap *heap;
	heapd_type *type;
	char name[32];

	ck_assert_int_eq(fixture_verify(&f, FIXTURE_HEAP), 0);
	ck_assert_int_eq(attach(&heap), 0);
	type = type_find(heap);
	ck_assert_ptr_nonnull(type);
	for (unsigned i = 0; i <= WORKERS; i++) {
		struct node *first;

		snprintf(name, sizeof(name), "list%u", i);
		first = heapd_root_get(heap, name, type);
		ck_assert_uint_gt(list_check(first), 0);
		ck_assert_int_ge(heapd_root_set(heap, name, NULL), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(heapd_collect(heap), 0);
	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	/* A conservative stack may hold a list's first nodes. */
	ck_assert_uint_lt(info.gc_live, 4u << 20);
	/* A fork that the daemon died of, and that was asked for again, has left no session for which no child comes. */
	for (unsigned ms = 0; info.sessions != 1 && ms < ENDS_MS; ms += 10) {
		usleep(10000);
		ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	}
	ck_assert_uint_eq(info.sessions, 1);
	ck_assert_int_eq(heapd_detach(heap), 0);
	ck_assert_int_eq(fixture_verify(&f, FIXTURE_HEAP), 0);
}

/* Checked where it is run: each ends by itself when it is told to. */
static void kill_under_load(int number, unsigned kills)
{
	struct job jobs[WORKERS + 1];
	uint64_t random = seed | 1, times[KILLS], answers;
	pid_t pids[WORKERS + 3], victim;
	unsigned n = 0;

	for (unsigned i = 0; i <= WORKERS; i++)
		jobs[i] = (struct job){ .number = i };
	for (unsigned i = 0; i < WORKERS; i++)
		pids[n++] = fixture_client_fork(work, &jobs[i]);
	pids[n++] = fixture_client_fork(probe, NULL);
	pids[n++] = fixture_client_fork(come_and_go, NULL);
	pids[n++] = fixture_client_fork(fork_often, NULL);
	victim = fixture_client_fork(work_until_killed, &jobs[WORKERS]);
	sleep_ns(300u * MS);
	for (unsigned i = 0; i < kills; i++) {
		/* One that has served: who kills each before it can, finds the keeper waiting longer and longer (crash_loop). */
		answers = board->answers;
		ck_assert(becomes(&board->answers, answers + 2));
		sleep_ns(draw(&random) % (200u * MS));
		board->longest = 0;
		kill_daemon(number);
		if (draw(&random) % 4 == 0) {
			sleep_ns(draw(&random) % (10u * MS));
			kill(victim, SIGKILL);
			fixture_wait(victim, -SIGKILL);
			victim = fixture_client_fork(work_until_killed, &jobs[WORKERS]);
		}
		sleep_ns(150u * MS);
		times[i] = board->longest;
	}
	board->stop = 1;
	for (unsigned i = 0; i < n; i++)
		fixture_wait(pids[i], 0);
	fixture_wait(victim, 0);
	print_times(times, kills);
	for (unsigned i = 0; i <= WORKERS; i++)
		ck_assert_uint_gt(board->turns[i], 0);
	printf("turns: %" PRIu64 " of the first worker, %" PRIu64 " attachments, %" PRIu64 " forks\n",
	       board->turns[0], board->turns[8], board->turns[9]);
	ck_is_sound();
}

START_TEST(killed_under_load)
{
	kill_under_load(SIGKILL, KILLS);
}
END_TEST

/* As a service manager restarts it. */
START_TEST(restarted_under_load)
{
	kill_under_load(SIGTERM, 15);
}
END_TEST

/* Kills in the midst of cycles, since one follows another. */
START_TEST(killed_in_cycles)
{
	kill_under_load(SIGKILL, 20);
}
END_TEST

/* Single events ------------------------------------------------------------------------------------------------ */

/* All that it has hangs on a pin. */
static int hold_by_pin(void *arg)
{
	uint64_t random = seed | 1;
	struct node *node = NULL, **pin;
	heapd_heap *heap;
	heapd_type *type;

	(void)arg;
	if (attach(&heap))
		return 1;
	type = type_find(heap);
	for (unsigned i = 0; type && i < 500; i++)
		node = node_new(type, &random, node);
	pin = node ? heapd_pin(heap, node) : NULL;
	if (!pin)
		return failed_at("pin");
	node = NULL;
	board->turns[0] = 1;
	while (!board->stop)
		sleep_ns(MS);
	return list_check(*pin) == 500 ? 0 : failed_at("what the pin held");
}

/* One that is stopped all the while is waited for by the next daemon's cycle, and has what it had. */
START_TEST(stopped_client)
{
	pid_t pid = fixture_client_fork(hold_by_pin, NULL);
	heapd_heap *heap;

	ck_assert(becomes(&board->turns[0], 1));
	kill(pid, SIGSTOP);
	restart();
	ck_assert_int_eq(attach(&heap), 0);
	ck_assert_uint_eq(sessions(heap), 2);
	ck_assert(fixture_logged(&f, "heap 'test' adopted after restart: 1 sessions"));
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_ge(heapd_collect_start(heap), 0);
	sleep_ns(300u * MS);
	kill(pid, SIGCONT);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(heapd_collect(heap), 0);
	board->stop = 1;
	fixture_wait(pid, 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* Who dies while no daemon is there is missed by the next one, and what it held is garbage. */
START_TEST(dead_meanwhile)
{
	struct heapd_info info = HEAPD_SIZED(struct heapd_info);
	pid_t pid = fixture_client_fork(hold_by_pin, NULL);
	heapd_heap *heap;

	ck_assert(becomes(&board->turns[0], 1));
	kill(f.daemon, SIGSTOP); /* the keeper */
	kill_daemon(SIGKILL);
	kill(pid, SIGKILL);
	fixture_wait(pid, -SIGKILL);
	kill(f.daemon, SIGCONT);
	ck_assert_int_eq(attach(&heap), 0);
	ck_assert_uint_eq(sessions(heap), 1);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(heapd_collect(heap), 0);
	ck_assert_int_eq(heapd_get_info(heap, &info), 0);
	ck_assert_uint_lt(info.gc_live_objects, 10);
	ck_assert(fixture_logged(&f, "ended while no daemon was there"));
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

static int leave_unheard(void *arg)
{
	heapd_heap *heap;

	(void)arg;
	if (attach(&heap))
		return 1;
	board->turns[0] = 1;
	while (!board->turns[1])
		sleep_ns(MS);
	if (heapd_detach(heap) < 0)
		return failed_at("detach");
	board->turns[0] = 2;
	while (!board->stop)
		sleep_ns(MS);
	return 0;
}

/* Who detaches while no daemon is there and lives on holds nothing up. */
START_TEST(left_meanwhile)
{
	pid_t pid = fixture_client_fork(leave_unheard, NULL);
	heapd_heap *heap;

	ck_assert(becomes(&board->turns[0], 1));
	kill(f.daemon, SIGSTOP);
	kill_daemon(SIGKILL);
	sleep_ns(20u * MS);
	board->turns[1] = 1;
	ck_assert(becomes(&board->turns[0], 2));
	kill(f.daemon, SIGCONT);
	ck_assert_int_eq(attach(&heap), 0);
	ck_assert_int_eq(heapd_collect(heap), 0);
	ck_assert_uint_eq(sessions(heap), 1);
	board->stop = 1;
	fixture_wait(pid, 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* A daemon that dies as soon as it lives is started again and again, and loses nothing. */
START_TEST(crash_loop)
{
	uint64_t random = seed | 1;
	heapd_heap *heap;
	heapd_type *type;
	struct node *node;

	ck_assert_int_eq(attach(&heap), 0);
	type = type_find(heap);
	node = node_new(type, &random, NULL);
	ck_assert_int_ge(heapd_root_set(heap, "kept", node), 0);
	for (unsigned i = 0; i < 10; i++)
		restart();
	ck_assert_int_ge(heapd_root_set(heap, "kept", NULL), 0);
	ck_assert(node_is_whole(node));
	ck_assert_int_eq(heapd_detach(heap), 0);
	ck_assert_int_eq(fixture_verify(&f, FIXTURE_HEAP), 0);
}
END_TEST

/* Events of other kinds may come before it. */
static void event_await(heapd_heap *heap, int kind)
{
	struct heapd_event event = HEAPD_SIZED(struct heapd_event);
	uint64_t end = fixture_now_ns() + 20000u * slowness() * MS;
	int r;

	while ((r = heapd_event_next(heap, &event)) >= 0 && !(r == 1 && event.kind == kind)) {
		ck_assert_uint_lt(fixture_now_ns(), end);
		sleep_ns(MS);
	}
	ck_assert_int_ge(r, 0);
}

/* Away for longer than a call waits: the program hears of it, and of the return. */
START_TEST(away_and_back)
{
	struct heapd_options options = heapd_options_default();
	heapd_heap *heap;
	int r;

	/* On a busy machine also for longer than attaching waits. */
	options.request_timeout_ms = 200;
	while ((r = heapd_attach(&heap, FIXTURE_HEAP, &options)) == -ETIMEDOUT)
		;
	ck_assert_int_eq(r, 0);
	ck_assert_int_ge(heapd_event_fd(heap), 0);
	kill(f.daemon, SIGSTOP);
	kill_daemon(SIGKILL);
	ck_assert_int_eq(heapd_root_set(heap, "none", NULL), -EAGAIN);
	event_await(heap, HEAPD_EVENT_DAEMON_AWAY);
	kill(f.daemon, SIGCONT);
	while (heapd_verify(heap, NULL) < 0)
		sleep_ns(MS);
	event_await(heap, HEAPD_EVENT_DAEMON_BACK);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
END_TEST

/* Without a keeper the heap ends with its daemon; the next one's is another, and says so at once. */
START_TEST(another_heap)
{
	struct heapd_options options = heapd_options_default();
	heapd_heap *heap;
	uint64_t begin;

	fixture_start(&f, NULL);
	options.request_timeout_ms = 1000; /* so long does the fork wait by which a daemon is started */
	ck_assert_int_eq(heapd_attach(&heap, FIXTURE_HEAP, &options), 0);
	fixture_kill(&f, SIGKILL);
	fixture_restart(&f);
	begin = fixture_now_ns();
	ck_assert_int_eq(heapd_verify(heap, NULL), -EAGAIN);
	ck_assert_uint_lt(fixture_now_ns() - begin, 900u * (uint64_t)MS);
	ck_assert_ptr_nonnull(strstr(heapd_error(), "made anew"));
	ck_assert_int_eq(heapd_detach(heap), 0);
	ck_assert_int_eq(attach(&heap), 0);
	ck_assert_int_eq(heapd_detach(heap), 0);
	fixture_stop(&f);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("keep");
	TCase *tc = tcase_create("keep");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 180);
	tcase_add_test(tc, killed_under_load);
	tcase_add_test(tc, restarted_under_load);
	tcase_add_test(tc, stopped_client);
	tcase_add_test(tc, dead_meanwhile);
	tcase_add_test(tc, left_meanwhile);
	tcase_add_test(tc, crash_loop);
	tcase_add_test(tc, away_and_back);
	suite_add_tcase(s, tc);
	tc = tcase_create("stress");
	tcase_add_checked_fixture(tc, setup_stress, teardown);
	tcase_set_timeout(tc, 180);
	tcase_add_test(tc, killed_in_cycles);
	suite_add_tcase(s, tc);
	tc = tcase_create("unkept");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, another_heap);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return suite_run(suite());
}
