/* SPDX-License-Identifier: MIT */
/*
 * The watchdog: who is stuck, and who only seems so; and what a service manager hears of a real daemon.
 */
#include "daemon/watchdog.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "daemon/notify.h"
#include "heapd.h"
#include "manager.h"
#include "slowness.h"
#include "suite.h"

#define PATIENCE 1000
#define SESSIONS 3u

static struct heap heap = { .name = "shop" };
static struct heap *heaps[] = { &heap };
static struct sessions sessions = { .heaps = heaps, .nheaps = 1 };
static struct watchdog watchdog;
static struct log lines;
static int out[2];

static void setup(void)
{
	ck_assert_int_eq(pipe2(out, O_NONBLOCK), 0);
	log_init(&lines, out[1], LOG_TARGET_JOURNAL, LOG_INFO);
	heap.supply_beat = heap.collection_beat = heap.walk_beat = (struct beat){ 0 };
	watchdog = (struct watchdog){ .sessions = &sessions, .log = &lines, .patience = PATIENCE };
	ck_assert(watchdog_look(&watchdog, 5));
}

static const char *said(void)
{
	static char text[4096];
	ssize_t n = read(out[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

START_TEST(whoever_rests_is_well)
{
	for (uint64_t now = 0; now < 10 * PATIENCE; now += PATIENCE)
		ck_assert(watchdog_look(&watchdog, 5 + now));
	beat_begin(&heap.supply_beat);
	beat_rest(&heap.supply_beat);
	ck_assert(watchdog_look(&watchdog, 20 * PATIENCE));
	ck_assert(watchdog_look(&watchdog, 40 * PATIENCE));
	ck_assert_str_eq(said(), "");
}
END_TEST

/* _i: which of the two threads. */
START_TEST(whoever_works_and_does_not_beat_is_stuck)
{
	struct beat *beat = _i ? &heap.collection_beat : &heap.supply_beat;

	beat_begin(beat);
	ck_assert(watchdog_look(&watchdog, 100));
	ck_assert(watchdog_look(&watchdog, 100 + PATIENCE - 1));
	ck_assert(!watchdog_look(&watchdog, 100 + PATIENCE));
	ck_assert_ptr_nonnull(
		strstr(said(), _i ? "'shop': its collector is stuck" : "'shop': its supplier is stuck"));
	ck_assert(!watchdog_look(&watchdog, 100 + 2 * PATIENCE));
	ck_assert_str_eq(said(), "");
	beat_count(beat);
	ck_assert(watchdog_look(&watchdog, 100 + 3 * PATIENCE));
	ck_assert_ptr_nonnull(strstr(said(), "gets on again"));
}
END_TEST

START_TEST(a_loop_that_does_not_go_round_is_stuck)
{
	beat_begin(&watchdog.loop);
	ck_assert(watchdog_look(&watchdog, 100));
	ck_assert(watchdog_look(&watchdog, 100 + PATIENCE - 1));
	ck_assert(!watchdog_look(&watchdog, 100 + PATIENCE));
	ck_assert_ptr_nonnull(strstr(said(), "the loop is stuck"));
	beat_count(&watchdog.loop);
	ck_assert(watchdog_look(&watchdog, 100 + 2 * PATIENCE));
}
END_TEST

/* Who waits for the heap's lock does not beat, but who has it does. */
START_TEST(whoever_waits_for_a_walk_is_well)
{
	beat_begin(&watchdog.loop);
	beat_begin(&heap.supply_beat);
	beat_begin(&heap.collection_beat);
	for (uint64_t now = 0; now < 10 * PATIENCE; now += PATIENCE - 1) {
		ck_assert(watchdog_look(&watchdog, 100 + now));
		beat_step(&heap.walk_beat, 1024 * now);
	}
	ck_assert(watchdog_look(&watchdog, 100 + 12 * PATIENCE));
	ck_assert(!watchdog_look(&watchdog, 100 + 14 * PATIENCE));
}
END_TEST

START_TEST(whoever_beats_may_work_for_ever)
{
	beat_begin(&heap.collection_beat);
	for (uint64_t now = 0; now < 10 * PATIENCE; now += PATIENCE - 1) {
		ck_assert(watchdog_look(&watchdog, 100 + now));
		beat_count(&heap.collection_beat);
	}
}
END_TEST

START_TEST(a_daemon_feeds_its_watchdog_and_says_how_it_is)
{
	static const char *const settings[] = { "heap.test.GCPercent=100", NULL };
	struct sockaddr_un address;
	char text[2048], us[32];
	int fd = manager(&address);
	heapd_heap *attached;
	struct fixture f;

	/* While this process attaches nobody listens. */
	snprintf(us, sizeof(us), "%lu", 400000 * (unsigned long)slowness());
	setenv("WATCHDOG_USEC", us, 1);
	fixture_start(&f, settings);
	ck_assert(hears(fd, "STATUS=1 heap, 0 clients; test: ", text, sizeof(text)));
	ck_assert_ptr_nonnull(strstr(text, " of 256.0 MiB"));
	ck_assert(hears(fd, "READY=1", text, sizeof(text)));
	for (int i = 0; i < 5; i++)
		ck_assert(hears(fd, "WATCHDOG=1", text, sizeof(text)));
	ck_assert_int_eq(heapd_attach(&attached, FIXTURE_HEAP, NULL), 0);
	ck_assert_int_eq(heapd_collect(attached), 0);
	ck_assert(hears(fd, "1 heap, 1 client; test: ", text, sizeof(text)));
	ck_assert(strstr(text, "gc 1 took") || hears(fd, "gc 1 took", text, sizeof(text)));
	heapd_detach(attached);
	unsetenv("WATCHDOG_USEC");
	manager_end(&f, fd, &address);
}
END_TEST

/* A process that hears all, until it is ended. */
static pid_t listener_start(int fd)
{
	pid_t pid = fork();
	char text[16];

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		recv(fd, text, sizeof(text), 0);
}

/* What is heard until nothing comes for a second and a half: how often something is to be kept no more, and the last status. */
static unsigned hear_all(int fd, char *status, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char text[2048];
	unsigned removed = 0;

	while (poll(&p, 1, 1500) > 0) {
		ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

		text[n > 0 ? n : 0] = '\0';
		removed += strncmp(text, "FDSTOREREMOVE=1", 15) == 0;
		if (strncmp(text, "STATUS=", 7) == 0)
			snprintf(status, size, "%s", text);
	}
	return removed;
}

/*
 * Who attaches, collects and goes is served while the service manager reads nothing. When it reads again it hears how things are then,
 * and of each session once that it is not to be kept any more.
 */
START_TEST(nobody_waits_for_a_manager_that_does_not_listen)
{
	static const char *const settings[] = { "heap.test.GCPercent=100", NULL };
	struct sockaddr_un address;
	char text[2048] = "";
	int fd = manager(&address);
	pid_t listener = listener_start(fd);
	heapd_heap *attached;
	struct fixture f;
	uint64_t begin;

	setenv("FDSTORE", "64", 1);
	fixture_start(&f, settings);
	kill(listener, SIGKILL);
	fixture_wait(listener, -SIGKILL);
	hear_all(fd, text, sizeof(text));
	while (notify_send("X=1", -1, 0) == 1)
		;
	begin = fixture_now_ns();
	for (unsigned i = 0; i < SESSIONS; i++) {
		ck_assert_int_eq(heapd_attach(&attached, FIXTURE_HEAP, NULL), 0);
		ck_assert_int_eq(heapd_collect(attached), 0);
		usleep(1100000); /* there is another status to be told each second */
		ck_assert_int_eq(heapd_detach(attached), 0);
	}
	ck_assert_uint_lt(fixture_now_ns() - begin, 30000000000u);
	ck_assert_uint_eq(hear_all(fd, text, sizeof(text)), SESSIONS);
	ck_assert_msg(strstr(text, "0 clients") && strstr(text, "gc 3 took"), "%s", text);
	manager_end(&f, fd, &address);
}
END_TEST

static Suite *watchdog_suite(void)
{
	Suite *suite = suite_create("watchdog");
	TCase *looks = tcase_create("looks"), *service = tcase_create("service");

	tcase_add_checked_fixture(looks, setup, NULL);
	tcase_add_test(looks, whoever_rests_is_well);
	tcase_add_loop_test(looks, whoever_works_and_does_not_beat_is_stuck, 0, 2);
	tcase_add_test(looks, a_loop_that_does_not_go_round_is_stuck);
	tcase_add_test(looks, whoever_waits_for_a_walk_is_well);
	tcase_add_test(looks, whoever_beats_may_work_for_ever);
	suite_add_tcase(suite, looks);
	tcase_set_timeout(service, 120);
	tcase_add_test(service, a_daemon_feeds_its_watchdog_and_says_how_it_is);
	tcase_add_test(service, nobody_waits_for_a_manager_that_does_not_listen);
	suite_add_tcase(suite, service);
	return suite;
}

int main(void)
{
	return suite_run(watchdog_suite());
}
