/* SPDX-License-Identifier: MIT */
/* Cycles as traces: what is whole is written, in order and complete; what is not, is not. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/cycletrace.h"

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

/* A cycle whose parts take 1 to 6 us, begun at its number in milliseconds. */
static void cycle_add(uint64_t cycle)
{
	directory->cycles[cycle % HEAPD_CYCLES_KEPT] = (struct heapd_cycle_record){
		.cycle = cycle,
		.began = cycle * 1000000,
		.trigger = 3,
		.is_void = cycle == 5,
		.barrier = 1000,
		.gather = 2000,
		.scan = 3000,
		.roots = 4000,
		.mark = 5000,
		.sweep = 6001,
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
	ck_assert_uint_eq(count(text, "\"ph\":\"X\""), 6 * 7);
	ck_assert_uint_eq(count(text, "(void)"), 1);
	ck_assert_uint_eq(count(text, "\"trigger\":\"request\""), 6);
	ck_assert_ptr_nonnull(strstr(text,
				     "\"name\":\"gc 2\",\"cat\":\"gc\",\"ph\":\"X\",\"pid\":1,\"tid\":1,"
				     "\"ts\":2000.000,\"dur\":21.001"));
	ck_assert_ptr_nonnull(strstr(text,
				     "\"name\":\"sweep\",\"cat\":\"gc\",\"ph\":\"X\",\"pid\":1,\"tid\":1,"
				     "\"ts\":2015.000,\"dur\":6.001"));
	ck_assert(strstr(text, "\"gc 2\"") < strstr(text, "\"gc 3\""));
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
	ck_assert_uint_eq(count(text, "\"ph\":\"X\""), (HEAPD_CYCLES_KEPT - 1) * 7);
	free(text);
	ck_assert(!cycletrace_read(directory, 20, &record));
	ck_assert(!cycletrace_read(directory, 3, &record));
	ck_assert(!cycletrace_read(directory, 0, &record));
	ck_assert(cycletrace_read(directory, HEAPD_CYCLES_KEPT + 3, &record));
	ck_assert_uint_eq(record.began, (HEAPD_CYCLES_KEPT + 3) * 1000000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cycletrace");
	TCase *t = tcase_create("cycletrace");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, chrome_has_each_cycle_and_its_parts);
	tcase_add_test(t, chrome_of_no_cycle_is_a_file_all_the_same);
	tcase_add_test(t, what_is_being_written_is_left_out);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
