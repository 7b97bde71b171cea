/* SPDX-License-Identifier: MIT */
/* Cycles as traces: what is whole is written, in order and complete; what is not, is not. */
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/cycletrace.h"
#include "heapd/atomic.h"
#include "suite.h"

static struct heapd_directory *directory;

static void setup(void)
{
	directory = aligned_alloc(64, (sizeof(*directory) + 63) / 64 * 64);
	ck_assert_ptr_nonnull(directory);
	memset(directory, 0, sizeof(*directory));
	directory->id = 0xabc;
}

static void teardown(void)
{
	free(directory);
}

/* A time of day, as far into an era as a double has a quarter of a microsecond left. */
#define DAY UINT64_C(1764150000123456789)

/* A cycle whose parts take 1 to 6 us, begun at its number in milliseconds. */
static void cycle_add(uint64_t cycle)
{
	directory->cycles[cycle % HEAPD_CYCLES_KEPT] = (struct heapd_cycle_record){
		.cycle = cycle,
		.began = cycle * 1000000,
		.trigger = 3,
		.is_void = cycle == 5,
		.barrier_phase = 1000,
		.barrier = 400,
		.gather = 2000,
		.scan_phase = 3000,
		.scan = 2500,
		.roots = 4000,
		.mark = 5000,
		.sweep = 6001,
		.marked = 100 * cycle + 2,
		.before = 100 * cycle + 100,
	};
	directory->cycle.now = heapd_now_make((uint32_t)cycle, HEAPD_PHASE_IDLE);
}

static char *chrome(void)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(f);
	cycletrace_write_chrome(directory, "test", f);
	fclose(f);
	return text;
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

static void ck_balanced(const char *text)
{
	int curly = 0, square = 0;

	for (; *text; text++) {
		curly += (*text == '{') - (*text == '}');
		square += (*text == '[') - (*text == ']');
		ck_assert(curly >= 0 && square >= 0);
	}
	ck_assert(curly == 0 && square == 0);
}

START_TEST(chrome_has_each_cycle_and_its_parts)
{
	char *text;

	for (uint64_t c = 1; c <= 6; c++)
		cycle_add(c);
	text = chrome();
	ck_balanced(text);
	ck_assert_uint_eq(count(text, "\"ph\":\"X\""), 6 * 9);
	ck_assert_uint_eq(count(text, "(void)"), 1);
	ck_assert_uint_eq(count(text, "\"trigger\":\"request\""), 6);
	ck_assert_ptr_nonnull(strstr(text,
				     "\"name\":\"gc 2\",\"cat\":\"gc\",\"ph\":\"X\",\"pid\":1,\"tid\":1,"
				     "\"ts\":1000.000,\"dur\":21.001,"));
	ck_assert_ptr_nonnull(strstr(text,
				     "\"name\":\"sweep\",\"cat\":\"gc\",\"ph\":\"X\",\"pid\":1,\"tid\":1,"
				     "\"ts\":1015.000,\"dur\":6.001}"));
	ck_assert_ptr_nonnull(strstr(text, "\"name\":\"handshake: barrier\",\"cat\":\"gc\",\"ph\":\"X\","
					   "\"pid\":1,\"tid\":1,\"ts\":1000.600,\"dur\":0.400}"));
	ck_assert_ptr_nonnull(strstr(text, "\"name\":\"handshake: scan\",\"cat\":\"gc\",\"ph\":\"X\","
					   "\"pid\":1,\"tid\":1,\"ts\":1003.500,\"dur\":2.500}"));
	ck_assert_ptr_nonnull(strstr(text, "\"name\":\"allocated\",\"ph\":\"C\",\"pid\":1,\"ts\":1000.000,"
					   "\"args\":{\"bytes\":300}}"));
	ck_assert_ptr_nonnull(strstr(text, "\"name\":\"live\",\"ph\":\"C\",\"pid\":1,\"ts\":1021.001,"
					   "\"args\":{\"bytes\":202}}"));
	ck_assert_uint_eq(count(text, "\"name\":\"allocated\""), 6);
	ck_assert_uint_eq(count(text, "\"name\":\"live\""), 5); /* a void cycle has found none */
	ck_assert_ptr_nonnull(strstr(text, "\"displayTimeUnit\":\"ns\",\"otherData\":{\"heap\":\"test\","
					   "\"began_unix_ns\":\"1000000\"}"));
	ck_assert_ptr_nonnull(strstr(text, "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,"
					   "\"args\":{\"name\":\"heapd: test\"}}"));
	ck_assert_ptr_nonnull(strstr(text, "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,"
					   "\"args\":{\"name\":\"collections\"}}"));
	ck_assert(strstr(text, "\"gc 2\"") < strstr(text, "\"gc 3\""));
	free(text);
}
END_TEST

/* The events in the order of the file, each with its times in nanoseconds, read as readers do: by double precision. */
static unsigned events_read(const char *text, int64_t ts[], int64_t end[], unsigned most)
{
	unsigned n = 0;

	for (; n < most && (text = strstr(text, "\"ph\":\"X\"")); n++) {
		double at, dur;

		ck_assert_int_eq(
			sscanf(text, "\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":%lf,\"dur\":%lf", &at, &dur),
			2);
		ts[n] = llround(at * 1000);
		end[n] = ts[n] + llround(dur * 1000);
		text++;
	}
	return n;
}

/* Each within the last one that has not ended: what begins later, or at the same time and later in the file, lies inside. */
static void ck_nested(const int64_t ts[], const int64_t end[], unsigned n, unsigned depth)
{
	int64_t open[8];
	unsigned k = 0;

	for (unsigned i = 0; i < n; i++) {
		while (k && open[k - 1] <= ts[i])
			k--;
		ck_assert(!k || end[i] <= open[k - 1]);
		ck_assert_uint_lt(k, depth);
		open[k++] = end[i];
	}
}

START_TEST(chrome_keeps_nanoseconds_whatever_the_time_of_day)
{
	int64_t ts[27], end[27];
	char *text;

	for (uint64_t c = 1; c <= 3; c++) {
		cycle_add(c);
		directory->cycles[c].began = DAY + c * 1000000 + c;
		directory->cycles[c].sweep = 6001 + c;
	}
	text = chrome();
	ck_assert_uint_eq(events_read(text, ts, end, 27), 27);
	ck_assert_ptr_nonnull(strstr(text, "\"began_unix_ns\":\"1764150000124456790\""));
	ck_assert_int_eq(ts[0], 0);
	ck_assert_int_eq(ts[9], 1000001);
	ck_assert_int_eq(ts[18], 2000002);
	ck_assert_int_eq(end[18], 2000002 + 21004);
	ck_nested(ts, end, 27, 3);
	free(text);
}
END_TEST

/* A phase that took no time begins when the next one does; a handshake lies in its own phase all the same. */
START_TEST(chrome_nests_what_takes_no_time)
{
	int64_t ts[9], end[9];
	char *text, *phase, *handshake, *next;

	cycle_add(1);
	directory->cycles[1].barrier = directory->cycles[1].barrier_phase = 0;
	directory->cycles[1].scan = directory->cycles[1].scan_phase;
	text = chrome();
	ck_assert_uint_eq(events_read(text, ts, end, 9), 9);
	ck_nested(ts, end, 9, 3);
	phase = strstr(text, "{\"name\":\"barrier\"");
	handshake = strstr(text, "{\"name\":\"handshake: barrier\"");
	next = strstr(text, "{\"name\":\"gather\"");
	ck_assert(phase && phase < handshake && handshake < next);
	phase = strstr(text, "{\"name\":\"scan\"");
	handshake = strstr(text, "{\"name\":\"handshake: scan\"");
	next = strstr(text, "{\"name\":\"roots\"");
	ck_assert(phase && phase < handshake && handshake < next);
	free(text);
}
END_TEST

START_TEST(chrome_survives_a_clock_that_was_set_back)
{
	char *text;

	cycle_add(1);
	cycle_add(2);
	directory->cycles[2].began = directory->cycles[1].began - 1500;
	text = chrome();
	ck_balanced(text);
	ck_assert_ptr_nonnull(strstr(text,
				     "\"name\":\"gc 2\",\"cat\":\"gc\",\"ph\":\"X\",\"pid\":1,\"tid\":1,"
				     "\"ts\":-1.500,\"dur\":21.001,"));
	free(text);
}
END_TEST

START_TEST(chrome_of_no_cycle_is_a_file_all_the_same)
{
	char *text = chrome();

	ck_balanced(text);
	ck_assert_uint_eq(count(text, "\"ph\":\"X\""), 0);
	free(text);
}
END_TEST

START_TEST(what_is_being_written_is_left_out)
{
	struct heapd_cycle_record record;
	char *text;

	for (uint64_t c = 1; c <= HEAPD_CYCLES_KEPT + 10; c++)
		cycle_add(c);
	directory->cycles[20].cycle = 0;
	text = chrome();
	ck_assert_uint_eq(count(text, "\"ph\":\"X\""), (HEAPD_CYCLES_KEPT - 1) * 9);
	free(text);
	ck_assert(!cycletrace_read(directory, 20, &record));
	ck_assert(!cycletrace_read(directory, 3, &record));
	ck_assert(!cycletrace_read(directory, 0, &record));
	ck_assert(cycletrace_read(directory, HEAPD_CYCLES_KEPT + 3, &record));
	ck_assert_uint_eq(record.began, (HEAPD_CYCLES_KEPT + 3) * 1000000);
}
END_TEST

static char *otlp(uint64_t cycle)
{
	struct heapd_cycle_record record;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(f);
	ck_assert(cycletrace_read(directory, cycle, &record));
	cycletrace_write_otlp(directory, "test", &record, f);
	fclose(f);
	return text;
}

/* Ids of so many bytes each, in lower case hexadecimal: 2 digits a byte, no more and no less. */
static void ck_ids(const char *text, const char *what, size_t bytes, unsigned n)
{
	char key[32];
	unsigned found = 0;

	snprintf(key, sizeof(key), "\"%s\":\"", what);
	for (; (text = strstr(text, key)); found++) {
		text += strlen(key);
		ck_assert_uint_eq(strspn(text, "0123456789abcdef"), 2 * bytes);
		ck_assert_int_eq(text[2 * bytes], '"');
	}
	ck_assert_uint_eq(found, n);
}

/* Of whatever size the numbers are that they are made of. */
START_TEST(otlp_ids_have_their_length)
{
	static const uint64_t sizes[] = { 1, 0xabc, 0x0fffffffffffffff, UINT64_MAX };
	char *text;

	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = 0; k < 4; k++) {
			cycle_add(4);
			directory->id = sizes[i];
			directory->cycles[4].began = sizes[k];
			text = otlp(4);
			ck_ids(text, "traceId", 16, 9);
			ck_ids(text, "spanId", 8, 9);
			ck_ids(text, "parentSpanId", 8, 8);
			free(text);
		}
}
END_TEST

START_TEST(otlp_says_who_is_whose_part)
{
	char *text;

	cycle_add(4);
	text = otlp(4);
	ck_balanced(text);
	ck_assert_uint_eq(count(text, "\"traceId\":\"0000000000000abc00000000003d0900\""), 9);
	ck_assert_uint_eq(count(text, "\"parentSpanId\":\"0000000000000041\""), 6);
	ck_assert_ptr_nonnull(strstr(text,
				     "\"spanId\":\"0000000000000042\",\"name\":\"barrier\",\"kind\":1,"
				     "\"startTimeUnixNano\":\"4000000\",\"endTimeUnixNano\":\"4001000\""));
	ck_assert_ptr_nonnull(
		strstr(text, "\"name\":\"handshake: barrier\",\"kind\":1,\"startTimeUnixNano\":\"4000600\","
			     "\"endTimeUnixNano\":\"4001000\",\"parentSpanId\":\"0000000000000042\""));
	ck_assert_ptr_nonnull(
		strstr(text, "\"name\":\"handshake: scan\",\"kind\":1,\"startTimeUnixNano\":\"4003500\","
			     "\"endTimeUnixNano\":\"4006000\",\"parentSpanId\":\"0000000000000044\""));
	ck_assert_ptr_nonnull(
		strstr(text, "\"key\":\"heapd.gc.trigger\",\"value\":{\"stringValue\":\"request\"}"));
	ck_assert_ptr_nonnull(strstr(text, "\"status\":{\"code\":1}"));
	free(text);
	cycle_add(5);
	text = otlp(5);
	ck_assert_ptr_nonnull(strstr(text, "\"status\":{\"code\":2}"));
	free(text);
}
END_TEST

/* A record that says that a handshake took longer than its phase, as one of a void cycle may. */
START_TEST(no_handshake_begins_before_its_phase)
{
	char *text;

	cycle_add(4);
	directory->cycles[4].barrier = 5000000;
	text = otlp(4);
	ck_assert_ptr_nonnull(
		strstr(text, "\"name\":\"handshake: barrier\",\"kind\":1,\"startTimeUnixNano\":\"4000000\","
			     "\"endTimeUnixNano\":\"4001000\""));
	free(text);
}
END_TEST

static atomic_bool stop;

/* As the daemon writes it, over and over: cycles 1, 65, ... have one place. What is looked at of a record is its number. */
static void *writer(void *arg)
{
	struct heapd_cycle_record *place = &directory->cycles[1];

	(void)arg;
	for (uint64_t c = 1; !atomic_load(&stop); c += HEAPD_CYCLES_KEPT) {
		HEAPD_STORE_RELEASE(&place->cycle, 0);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		HEAPD_WRITE_ONCE(place->began, c);
		HEAPD_WRITE_ONCE(place->before, c);
		HEAPD_WRITE_ONCE(place->scan_phase, c);
		HEAPD_STORE_RELEASE(&place->cycle, c);
		for (volatile unsigned i = 0; i < 100; i++)
			;
	}
	return NULL;
}

START_TEST(a_record_is_read_whole)
{
	unsigned whole = 0, torn = 0;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, writer, NULL), 0);
	for (unsigned i = 0; whole < 3000000 && i < 30000000; i++) {
		uint64_t cycle = HEAPD_READ_ONCE(directory->cycles[1].cycle);
		struct heapd_cycle_record r;

		if (!cycletrace_read(directory, cycle, &r))
			continue;
		whole++;
		torn += r.began != cycle || r.before != cycle || r.scan_phase != cycle;
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	ck_assert_uint_gt(whole, 0);
	ck_assert_uint_eq(torn, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cycletrace");
	TCase *t = tcase_create("cycletrace");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, chrome_has_each_cycle_and_its_parts);
	tcase_add_test(t, chrome_keeps_nanoseconds_whatever_the_time_of_day);
	tcase_add_test(t, chrome_nests_what_takes_no_time);
	tcase_add_test(t, chrome_survives_a_clock_that_was_set_back);
	tcase_add_test(t, chrome_of_no_cycle_is_a_file_all_the_same);
	tcase_add_test(t, what_is_being_written_is_left_out);
	tcase_add_test(t, otlp_ids_have_their_length);
	tcase_add_test(t, otlp_says_who_is_whose_part);
	tcase_add_test(t, no_handshake_begins_before_its_phase);
	tcase_add_test(t, a_record_is_read_whole);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	return suite_run(s);
}
