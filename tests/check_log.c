/* SPDX-License-Identifier: MIT */
/* Log lines: their form, what of a client's text gets through, one write each, and the rate limit. */
#include "daemon/log.h"
#include "suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int reader, writer;

static void setup(void)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	reader = fds[0];
	writer = fds[1];
}

static void teardown(void)
{
	close(reader);
	close(writer);
}

/* What was written since the last call; "" if nothing. */
static const char *written(void)
{
	static char text[65536];
	ssize_t n = read(reader, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static struct log journal(int level)
{
	struct log log;

	log_init(&log, writer, LOG_TARGET_JOURNAL, level);
	return log;
}

START_TEST(journal_lines_have_a_prefix)
{
	struct log log = journal(LOG_DEBUG);

	log_err(&log, "a %d", 1);
	ck_assert_str_eq(written(), "<3>a 1\n");
	log_warning(&log, "b");
	log_notice(&log, "c");
	log_info(&log, "d");
	log_debug(&log, "e");
	ck_assert_str_eq(written(), "<4>b\n<5>c\n<6>d\n<7>e\n");
}
END_TEST

START_TEST(console_lines_have_time_and_level)
{
	int year, month, day, hour, minute, end = 0;
	const char *line;
	struct log log;
	double second;

	log_init(&log, writer, LOG_TARGET_CONSOLE, LOG_INFO);
	log_warning(&log, "mind the gap");
	line = written();
	sscanf(line, "%4d-%2d-%2d %2d:%2d:%6lf warning: mind the gap%n", &year, &month, &day, &hour, &minute,
	       &second, &end);
	ck_assert_int_gt(end, 0);
	ck_assert_str_eq(line + end, "\n");
	ck_assert_int_ge(year, 2024);
}
END_TEST

START_TEST(level_decides)
{
	struct log log = journal(LOG_NOTICE);

	log_info(&log, "no");
	ck_assert_str_eq(written(), "");
	log_notice(&log, "yes");
	ck_assert_str_eq(written(), "<5>yes\n");
	log_set_level(&log, LOG_ERR);
	log_notice(&log, "no more");
	ck_assert_str_eq(written(), "");
}
END_TEST

START_TEST(journal_stream_must_be_this_descriptor)
{
	struct stat st;
	char name[64];
	struct log log;

	unsetenv("JOURNAL_STREAM");
	ck_assert(!log_is_journal(writer));
	ck_assert_int_eq(fstat(writer, &st), 0);
	snprintf(name, sizeof(name), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", name, 1);
	ck_assert(log_is_journal(writer));
	ck_assert(!log_is_journal(reader));
	ck_assert(!log_is_journal(-1));
	log_init(&log, writer, LOG_TARGET_AUTO, LOG_INFO);
	ck_assert(log.prefixed);
	log_init(&log, reader, LOG_TARGET_AUTO, LOG_INFO);
	ck_assert(!log.prefixed);
	log_init(&log, writer, LOG_TARGET_CONSOLE, LOG_INFO);
	ck_assert(!log.prefixed);
	strcat(name, "x");
	setenv("JOURNAL_STREAM", name, 1);
	ck_assert(!log_is_journal(writer));
	unsetenv("JOURNAL_STREAM");
}
END_TEST

static const struct {
	const char *in, *out;
} escapes[] = {
	{ "plain text", "plain text" },
	{ "two\nlines", "two\\nlines" },
	{ "\n<0>forged", "\\n<0>forged" },
	{ "\r\t\v\f\a\b", "\\r\\t\\v\\f\\a\\b" },
	{ "\x1b[2J\x7f\x01", "\\x1b[2J\\x7f\\x01" },
	{ "back\\slash", "back\\\\slash" },
	{ "M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x98\x80", "M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x98\x80" },
	{ "\xc2\x9b"
	  "31m",
	  "\\xc2\\x9b31m" },            /* CSI as a C1 control */
	{ "\x9b", "\\x9b" },            /* no first byte */
	{ "\xe2\x82", "\\xe2\\x82" },   /* ends too early */
	{ "\xe2\x82.", "\\xe2\\x82." }, /* goes on wrongly */
	{ "\xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf",
	  "\\xc0\\xaf \\xe0\\x80\\xaf \\xf0\\x80\\x80\\xaf" }, /* overlong */
	{ "\xed\xa0\x80", "\\xed\\xa0\\x80" },                 /* surrogate */
	{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" },        /* above U+10FFFF */
	{ "\xe2\x80\xae", "\\xe2\\x80\\xae" },                 /* right-to-left override */
	{ "\xe2\x80\xa8", "\\xe2\\x80\\xa8" },                 /* line separator */
	{ "\xe2\x80\x93", "\xe2\x80\x93" },                    /* a dash */
};

START_TEST(clients_text_is_escaped)
{
	struct log log = journal(LOG_INFO);
	char expected[256];

	log_info(&log, "[%s]", escapes[_i].in);
	snprintf(expected, sizeof(expected), "<6>[%s]\n", escapes[_i].out);
	ck_assert_str_eq(written(), expected);
}
END_TEST

START_TEST(escape_never_cuts_a_piece)
{
	static const char text[] = "a\n\xe2\x82\xac\x01";
	static const size_t fits[] = { 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10 };
	static const size_t stands_for[] = { 0, 1, 1, 2, 2, 2, 5, 5, 5, 5, 6, 6 };

	for (size_t size = 0; size < sizeof(fits) / sizeof(fits[0]); size++) {
		char *out = malloc(size + !size);
		size_t used;

		ck_assert_uint_eq(log_escape(out, size, text, sizeof(text) - 1, &used), fits[size]);
		ck_assert_uint_eq(used, stands_for[size]);
		free(out);
	}
}
END_TEST

START_TEST(long_lines_are_cut_and_marked)
{
	struct log log = journal(LOG_INFO);
	const char *line;
	char text[3000];
	size_t n;

	for (size_t length = 990; length < 2100; length++) {
		memset(text, length % 2 ? 'x' : '\n', length);
		text[length] = '\0';
		log_info(&log, "%s", text);
		line = written();
		n = strlen(line);
		ck_assert_uint_le(n, LOG_LINE_MAX);
		ck_assert_ptr_eq(strchr(line, '\n'), line + n - 1);
		if (n < (length % 2 ? length : 2 * length) + 4) {
			ck_assert_uint_gt(n, LOG_LINE_MAX - 10);
			ck_assert_str_eq(line + n - 6, "[...]\n");
		}
	}
}
END_TEST

START_TEST(errno_survives_and_is_printed)
{
	struct log log = journal(LOG_INFO);

	errno = ENOENT;
	log_info(&log, "open: %m");
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_str_eq(written(), "<6>open: No such file or directory\n");
	log.fd = -1;
	log_info(&log, "nowhere");
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(unformattable_message_is_told)
{
	struct log log = journal(LOG_INFO);
	static const wchar_t bad[] = { 0x110000, 0 };

	log_info(&log, "%ls", bad);
	ck_assert_str_eq(written(), "<6>(a message that could not be formatted)\n");
}
END_TEST

/* Nobody reads: the writer must come back at once, and the gap is told of afterwards. */
START_TEST(stuck_reader_loses_lines_and_is_told)
{
	struct log log = journal(LOG_INFO);
	uint32_t lost;
	char expected[128];

	ck_assert_int_eq(fcntl(writer, F_SETFL, fcntl(writer, F_GETFL) & ~O_NONBLOCK), 0);
	while (!atomic_load(&log.lost))
		log_info(&log, "%01000d", 0);
	log_info(&log, "%01000d", 0);
	lost = atomic_load(&log.lost);
	ck_assert_uint_ge(lost, 2);
	while (*written())
		;
	log_info(&log, "back");
	snprintf(expected, sizeof(expected), "<4>%u log lines before this one were lost\n<6>back\n", lost);
	ck_assert_str_eq(written(), expected);
}
END_TEST

/* A reader that is gone must not kill the process by SIGPIPE. */
START_TEST(gone_reader_is_harmless)
{
	struct log log = journal(LOG_INFO);

	close(reader);
	log_info(&log, "anyone?");
	ck_assert_uint_eq(atomic_load(&log.lost), 1);
	reader = -1;
}
END_TEST

/* Datagrams keep what one system call wrote apart from the next. */
START_TEST(one_write_per_line)
{
	char line[LOG_LINE_MAX];
	struct log log;
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_DIRECT | O_NONBLOCK), 0);
	log_init(&log, fds[1], LOG_TARGET_JOURNAL, LOG_INFO);
	log_info(&log, "one");
	log_info(&log, "two%s%d", "x", 3);
	ck_assert_int_eq(read(fds[0], line, sizeof(line)), 7);
	ck_assert_int_eq(memcmp(line, "<6>one\n", 7), 0);
	ck_assert_int_eq(read(fds[0], line, sizeof(line)), 9);
	ck_assert_int_eq(memcmp(line, "<6>twox3\n", 9), 0);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

static void *write_many(void *arg)
{
	for (int i = 0; i < 2000; i++)
		log_info(arg, "%0200d", i);
	return NULL;
}

START_TEST(threads_do_not_mix_lines)
{
	char path[] = "/tmp/check_log.XXXXXX", line[512];
	pthread_t threads[3];
	struct log log;
	int lines = 0;
	FILE *f;

	int fd = mkostemp(path, O_APPEND);
	ck_assert_int_ge(fd, 0);
	unlink(path);
	log_init(&log, fd, LOG_TARGET_JOURNAL, LOG_INFO);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_many, &log), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	f = fdopen(fd, "r");
	rewind(f);
	while (fgets(line, sizeof(line), f)) {
		ck_assert_uint_eq(strlen(line), 204);
		ck_assert_int_eq(memcmp(line, "<6>0", 4), 0);
		lines++;
	}
	ck_assert_int_eq(lines, 6000);
	fclose(f);
}
END_TEST

START_TEST(limit_lets_a_burst_through_each_window)
{
	struct log_limit limit = { .what = "bad requests" };
	uint32_t now = 12345, missed;

	for (int i = 0; i < LOG_LIMIT_BURST; i++)
		ck_assert(log_limit_take(&limit, now, &missed));
	for (int i = 0; i < 7; i++)
		ck_assert(!log_limit_take(&limit, now + 99, &missed));
	ck_assert(log_limit_take(&limit, now + 100, &missed));
	ck_assert_uint_eq(missed, 7);
	for (int i = 1; i < LOG_LIMIT_BURST; i++) {
		ck_assert(log_limit_take(&limit, now + 100, &missed));
		ck_assert_uint_eq(missed, 0);
	}
	ck_assert(!log_limit_take(&limit, now + 100, &missed));
}
END_TEST

START_TEST(limit_survives_the_clocks_wrap)
{
	struct log_limit limit = { 0 };
	uint32_t missed;

	for (int i = 0; i < LOG_LIMIT_BURST; i++)
		ck_assert(log_limit_take(&limit, UINT32_MAX - 10, &missed));
	ck_assert(!log_limit_take(&limit, 50, &missed));
	ck_assert(log_limit_take(&limit, 90, &missed));
	ck_assert_uint_eq(missed, 1);
	limit = (struct log_limit){ 0 };
	for (int i = 0; i < LOG_LIMIT_BURST; i++)
		ck_assert(log_limit_take(&limit, 0, &missed));
	ck_assert(!log_limit_take(&limit, 0, &missed));
}
END_TEST

START_TEST(limited_lines_are_counted_and_told)
{
	struct log_limit limit = { .what = "bad requests" };
	struct log log = journal(LOG_INFO);
	uint64_t begun;

	for (int i = 0; i < 12; i++)
		log_limited(&log, &limit, LOG_WARNING, "bad request %d", i);
	ck_assert_str_eq(written(), "<4>bad request 0\n<4>bad request 1\n<4>bad request 2\n<4>bad request 3\n"
				    "<4>bad request 4\n");
	log_limited(&log, &limit, LOG_DEBUG, "below the level: not counted");
	begun = (atomic_load(&limit.state) >> 32) - 10 * LOG_LIMIT_WINDOW_SECONDS;
	atomic_store(&limit.state, begun << 32 | (uint32_t)atomic_load(&limit.state));
	log_limited(&log, &limit, LOG_WARNING, "bad request 12");
	ck_assert_str_eq(written(), "<4>bad requests: 7 more lines were suppressed\n<4>bad request 12\n");
	for (int i = 0; i < 6; i++)
		log_limited(&log, &limit, LOG_WARNING, "bad request");
	written();
	log_limit_flush(&log, &limit, LOG_WARNING);
	log_limit_flush(&log, &limit, LOG_WARNING);
	ck_assert_str_eq(written(), "<4>bad requests: 2 more lines were suppressed\n");
}
END_TEST

static _Atomic int passed;

static void *take_many(void *arg)
{
	uint32_t missed;

	for (int i = 0; i < 10000; i++)
		passed += log_limit_take(arg, 1000, &missed);
	return NULL;
}

/* A journald of the test's own: the datagram that an event makes. */
static const char *entry_of(const struct journal_event *event, const char *text)
{
	static char entry[4096];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct log log = journal(LOG_INFO);
	ssize_t n;

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/check_log.%d", getpid());
	unlink(address.sun_path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	log.journal = journal_open(address.sun_path);
	ck_assert_int_ge(log.journal, 0);
	log_event(&log, NULL, LOG_NOTICE, event, "%s", text);
	n = read(fd, entry, sizeof(entry) - 1);
	entry[n > 0 ? n : 0] = '\0';
	close(fd);
	close(log.journal);
	unlink(address.sun_path);
	return entry;
}

START_TEST(events_have_fields_in_the_journal)
{
	struct journal_event event = { .id = EVENT_CLIENT_DIED,
				       .heap = "shop",
				       .pid = 7,
				       .has_uid = true,
				       .uid = 8,
				       .session = 9,
				       .address = 0x1f };

	ck_assert_str_eq(entry_of(&event, "it died"),
			 "PRIORITY=5\nSYSLOG_IDENTIFIER=heapd\nMESSAGE_ID=" EVENT_CLIENT_DIED
			 "\nHEAPD_HEAP=shop\nHEAPD_PID=7\nHEAPD_UID=8\nHEAPD_SESSION=9\n"
			 "HEAPD_ADDRESS=0x1f\nMESSAGE=it died\n");
	ck_assert_str_eq(written(), "");
}
END_TEST

/* A client that left nothing has left 0 objects. */
START_TEST(events_that_count_have_a_count_of_nothing_too)
{
	struct journal_event event = { .id = EVENT_CLIENT_RECEIPT, .heap = "shop", .has_count = true };

	ck_assert_ptr_nonnull(
		strstr(entry_of(&event, "none"), "\nHEAPD_HEAP=shop\nHEAPD_COUNT=0\nMESSAGE=none\n"));
	event.has_count = false;
	ck_assert_ptr_null(strstr(entry_of(&event, "none"), "HEAPD_COUNT"));
	event = (struct journal_event){
		.id = EVENT_CLIENT_RECEIPT, .has_uid = true, .has_count = true, .count = 77
	};
	ck_assert_ptr_nonnull(strstr(entry_of(&event, "root's"), "\nHEAPD_UID=0\nHEAPD_COUNT=77\n"));
}
END_TEST

START_TEST(events_cannot_be_given_fields_by_text)
{
	struct journal_event event = { .id = EVENT_CLIENT_DIED };
	const char *entry = entry_of(&event, "a\nHEAPD_PID=1\n");

	ck_assert_ptr_nonnull(strstr(entry, "MESSAGE=a\\nHEAPD_PID=1\\n\n"));
	ck_assert_ptr_null(strstr(entry, "\nHEAPD_PID"));
}
END_TEST

START_TEST(events_are_lines_without_a_journald)
{
	struct journal_event event = { .id = EVENT_CLIENT_DIED, .heap = "shop" };
	struct log log = journal(LOG_NOTICE);
	int fds[2];

	ck_assert_int_lt(log.journal, 0);
	ck_assert_int_lt(journal_open("/tmp/no such socket"), 0);
	log_event(&log, NULL, LOG_NOTICE, &event, "it %s", "died");
	ck_assert_str_eq(written(), "<5>it died\n");
	log_event(&log, NULL, LOG_INFO, &event, "beneath the level");
	ck_assert_str_eq(written(), "");
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
	close(fds[1]);
	log.journal = fds[0]; /* journald has gone meanwhile */
	log_event(&log, NULL, LOG_NOTICE, &event, "again");
	ck_assert_str_eq(written(), "<5>again\n");
	close(fds[0]);
}
END_TEST

START_TEST(events_are_limited)
{
	struct journal_event event = { .id = EVENT_CLIENT_DIED };
	struct log_limit limit = { .what = "deaths", .burst = 1 };
	struct log log = journal(LOG_NOTICE);

	log_event(&log, &limit, LOG_NOTICE, &event, "one");
	log_event(&log, &limit, LOG_NOTICE, &event, "two");
	ck_assert_str_eq(written(), "<5>one\n");
}
END_TEST

START_TEST(limit_is_exact_between_threads)
{
	struct log_limit limit = { 0 };
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, take_many, &limit), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(passed, LOG_LIMIT_BURST);
	ck_assert_uint_eq((uint32_t)atomic_load(&limit.state), 40000);
}
END_TEST

static Suite *log_suite(void)
{
	Suite *suite = suite_create("log");
	TCase *lines = tcase_create("lines"), *limits = tcase_create("limits");

	tcase_add_checked_fixture(lines, setup, teardown);
	tcase_add_test(lines, journal_lines_have_a_prefix);
	tcase_add_test(lines, console_lines_have_time_and_level);
	tcase_add_test(lines, level_decides);
	tcase_add_test(lines, journal_stream_must_be_this_descriptor);
	tcase_add_loop_test(lines, clients_text_is_escaped, 0, sizeof(escapes) / sizeof(escapes[0]));
	tcase_add_test(lines, escape_never_cuts_a_piece);
	tcase_add_test(lines, long_lines_are_cut_and_marked);
	tcase_add_test(lines, errno_survives_and_is_printed);
	tcase_add_test(lines, unformattable_message_is_told);
	tcase_add_test(lines, stuck_reader_loses_lines_and_is_told);
	tcase_add_test(lines, gone_reader_is_harmless);
	tcase_add_test(lines, one_write_per_line);
	tcase_add_test(lines, threads_do_not_mix_lines);
	tcase_add_test(lines, events_have_fields_in_the_journal);
	tcase_add_test(lines, events_that_count_have_a_count_of_nothing_too);
	tcase_add_test(lines, events_cannot_be_given_fields_by_text);
	tcase_add_test(lines, events_are_lines_without_a_journald);
	tcase_add_test(lines, events_are_limited);
	suite_add_tcase(suite, lines);
	tcase_add_checked_fixture(limits, setup, teardown);
	tcase_add_test(limits, limit_lets_a_burst_through_each_window);
	tcase_add_test(limits, limit_survives_the_clocks_wrap);
	tcase_add_test(limits, limited_lines_are_counted_and_told);
	tcase_add_test(limits, limit_is_exact_between_threads);
	suite_add_tcase(suite, limits);
	return suite;
}

int main(void)
{
	return suite_run(log_suite());
}
