/* SPDX-License-Identifier: MIT */
/* The watchdog: who is stuck, and who only seems so; and what a service manager hears of a real daemon. */
#include "daemon/watchdog.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fixture.h"
#include "heapd.h"

#define PATIENCE 1000

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
	heap.supply_beat = heap.collection_beat = (struct beat){ 0 };
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

START_TEST(whoever_beats_may_work_for_ever)
{
	beat_begin(&heap.collection_beat);
	for (uint64_t now = 0; now < 10 * PATIENCE; now += PATIENCE - 1) {
		ck_assert(watchdog_look(&watchdog, 100 + now));
		beat_count(&heap.collection_beat);
	}
}
END_TEST

/* A service manager that listens: whether it hears a text in time. */
static int manager(struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path, sizeof(address->sun_path), "/tmp/check_watchdog.%d", getpid());
	unlink(address->sun_path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)address, sizeof(*address)), 0);
	setenv("NOTIFY_SOCKET", address->sun_path, 1);
	return fd;
}

static bool hears(int fd, const char *wanted, char *text, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t end = fixture_now_ns() + 5000000000u;

	while (fixture_now_ns() < end && poll(&p, 1, 5000) > 0) {
		ssize_t n = recv(fd, text, size - 1, 0);

		text[n > 0 ? n : 0] = '\0';
		if (strstr(text, wanted))
			return true;
	}
	return false;
}

START_TEST(a_daemon_feeds_its_watchdog_and_says_how_it_is)
{
	static const char *const settings[] = { "heap.test.GCPercent=100", NULL };
	struct sockaddr_un address;
	char text[2048], us[32] = "400000";
	int fd = manager(&address);
	heapd_heap *attached;
	struct fixture f;

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
	fixture_stop(&f);
	close(fd);
	unlink(address.sun_path);
}
END_TEST

static Suite *watchdog_suite(void)
{
	Suite *suite = suite_create("watchdog");
	TCase *looks = tcase_create("looks"), *service = tcase_create("service");

	tcase_add_checked_fixture(looks, setup, NULL);
	tcase_add_test(looks, whoever_rests_is_well);
	tcase_add_loop_test(looks, whoever_works_and_does_not_beat_is_stuck, 0, 2);
	tcase_add_test(looks, whoever_beats_may_work_for_ever);
	suite_add_tcase(suite, looks);
	tcase_set_timeout(service, 30);
	tcase_add_test(service, a_daemon_feeds_its_watchdog_and_says_how_it_is);
	suite_add_tcase(suite, service);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(watchdog_suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
