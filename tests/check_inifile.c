/* SPDX-License-Identifier: MIT */
/* The form of configuration files: what becomes a section, an assignment or a problem, and at which line. */
#include "daemon/inifile.h"
#include "suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Everything that the reader was told, one line each: "3 [name]", "4 key=value", "5 !problem". */
static char told[65536];
static size_t told_length;

static void tell(const char *format, unsigned line, const char *a, const char *b)
{
	int n = snprintf(told + told_length, sizeof(told) - told_length, format, line, a, b);

	if (n > 0 && (size_t)n < sizeof(told) - told_length)
		told_length += (size_t)n;
}

static void tell_section(void *arg, unsigned line, const char *name)
{
	(void)arg;
	tell("%u [%s]\n", line, name, "");
}

static void tell_assignment(void *arg, unsigned line, const char *key, const char *value)
{
	(void)arg;
	tell("%u %s=%s\n", line, key, value);
}

static void tell_problem(void *arg, unsigned line, const char *text)
{
	(void)arg;
	tell("%u !%s\n", line, text, "");
}

static const struct inifile_reader teller = { NULL, tell_section, tell_assignment, tell_problem };

/* The text is copied to memory of its exact size, so that a sanitizer sees a read beyond its end. */
static const char *parse_bytes(const char *text, size_t length)
{
	char *copy = malloc(length + !length);

	memcpy(copy, text, length);
	told[0] = '\0';
	told_length = 0;
	inifile_parse(copy, length, &teller);
	free(copy);
	return told;
}

static const struct {
	const char *text, *told;
} forms[] = {
	{ "", "" },
	{ "[A]\nk=v\n", "1 [A]\n2 k=v\n" },
	{ "[A]\r\nk=v\r\n", "1 [A]\n2 k=v\n" },
	{ "\xef\xbb\xbf[A]\nk=v", "1 [A]\n2 k=v\n" },
	{ "  [ A b ]  \n\t k \t=  v w \t\n", "1 [A b]\n2 k=v w\n" },
	{ "# c\n; c\n  # c\n\n k=#v;\n", "5 k=#v;\n" },
	{ "k=\nl = \n", "1 k=\n2 l=\n" },
	{ "k=a=b\n", "1 k=a=b\n" },
	{ "k='q' \"r\"\n", "1 k='q' \"r\"\n" },
	{ "k=a \\\n  b\\\nc\nl=d\n", "1 k=a    b c\n4 l=d\n" },
	{ "k=a\\\r\nb\r\n", "1 k=a b\n" },
	{ "k=a \\\n# between\n; too\nb\n", "1 k=a  b\n" },
	{ "# no continuation \\\nk=a\n", "2 k=a\n" },
	{ "k=a\\\\\nl=b\n", "1 k=a\\\\\n2 l=b\n" },
	{ "k=a\\\\\\\nl=b\n", "1 k=a\\\\ l=b\n" },
	{ "k=a\\\n\nl=b\n", "1 k=a\n3 l=b\n" },
	{ "k=a\\", "1 k=a\n" },
	{ "\\\n\\\nk=a\n", "1 k=a\n" },
	{ "word\n", "1 !'word' is neither a [Section] nor Key=Value\n" },
	{ "\n\n=v\n", "3 !'=v' has no key before the '='\n" },
	{ "[A\nk=v\n", "1 !'[A' is not a section; write [Name] on a line of its own\n2 k=v\n" },
	{ "[A] k=v\n", "1 !'[A] k=v' is not a section; write [Name] on a line of its own\n" },
	{ "[]\n[\n", "1 !'[]' is not a section; write [Name] on a line of its own\n"
		     "2 !'[' is not a section; write [Name] on a line of its own\n" },
	{ "M\xfcller=\xff\xfe\n", "1 M\xfcller=\xff\xfe\n" },
};

START_TEST(form)
{
	ck_assert_str_eq(parse_bytes(forms[_i].text, strlen(forms[_i].text)), forms[_i].told);
}
END_TEST

START_TEST(nul_bytes_are_refused_where_they_are)
{
	static const char text[] = "a=1\nb=\0002\nc=3\\\n\0\\\n4\nd=5\n\0#\ne=6";

	ck_assert_str_eq(parse_bytes(text, sizeof(text) - 1), "1 a=1\n2 !the line holds a NUL byte\n"
							      "3 !the line holds a NUL byte\n6 d=5\n"
							      "7 !the line holds a NUL byte\n8 e=6\n");
}
END_TEST

/* A line of so many bytes, in so many parts, between two others. */
static const char *parse_long(size_t length, size_t parts)
{
	size_t n = 0, size = length + 2 * parts + 32;
	char *text = malloc(size);
	const char *result;

	n += (size_t)sprintf(text, "a=1\nk=");
	for (size_t i = 2; i < length; i++) {
		if (parts > 1 && i == length / 2) {
			/* the backslash becomes the space that counts as this byte */
			n += (size_t)sprintf(text + n, "\\\n");
			continue;
		}
		text[n++] = 'x';
	}
	n += (size_t)sprintf(text + n, "\nb=2\n");
	result = parse_bytes(text, n);
	free(text);
	return result;
}

START_TEST(long_lines_are_refused)
{
	ck_assert_ptr_nonnull(strstr(parse_long(INIFILE_LINE_MAX, 1), "\n2 k=xxx"));
	ck_assert_str_eq(parse_long(INIFILE_LINE_MAX + 1, 1),
			 "1 a=1\n2 !the line is longer than 4096 bytes\n3 b=2\n");
	ck_assert_ptr_nonnull(strstr(parse_long(INIFILE_LINE_MAX, 2), "\n2 k=xxx"));
	ck_assert_str_eq(parse_long(INIFILE_LINE_MAX + 1, 2),
			 "1 a=1\n2 !the line is longer than 4096 bytes\n4 b=2\n");
	ck_assert_str_eq(parse_long(100000, 1), "1 a=1\n2 !the line is longer than 4096 bytes\n3 b=2\n");
}
END_TEST

START_TEST(files_are_read_whole_or_not_at_all)
{
	char path[] = "/tmp/check_inifile.XXXXXX";
	int fd = mkstemp(path);

	told[0] = '\0';
	told_length = 0;
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(inifile_read(path, &teller), 0);
	ck_assert_int_eq(write(fd, "[A]\nk=v", 7), 7);
	ck_assert_int_eq(inifile_read(path, &teller), 0);
	ck_assert_str_eq(told, "1 [A]\n2 k=v\n");
	ck_assert_int_eq(ftruncate(fd, INIFILE_SIZE_MAX), 0);
	ck_assert_int_eq(inifile_read(path, &teller), 0);
	told[0] = '\0';
	ck_assert_int_eq(ftruncate(fd, INIFILE_SIZE_MAX + 1), 0);
	ck_assert_int_eq(inifile_read(path, &teller), -EFBIG);
	close(fd);
	unlink(path);
	ck_assert_int_eq(inifile_read(path, &teller), -ENOENT);
	ck_assert_int_eq(inifile_read("/tmp", &teller), -EISDIR);
	ck_assert_str_eq(told, "");
}
END_TEST

/* Bytes that matter are frequent, so that the odd corners are met. */
START_TEST(random_bytes_never_crash)
{
	static const char alphabet[] = "[]=\\\n\r #;ab\0\t\xff";
	char text[300];

	srandom(1);
	for (int round = 0; round < 20000; round++) {
		size_t length = (size_t)random() % sizeof(text);

		for (size_t i = 0; i < length; i++)
			text[i] = random() % 8 ? alphabet[(size_t)random() % (sizeof(alphabet) - 1)]
					       : (char)random();
		parse_bytes(text, length);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inifile");
	TCase *tests = tcase_create("inifile");

	tcase_add_loop_test(tests, form, 0, sizeof(forms) / sizeof(forms[0]));
	tcase_add_test(tests, nul_bytes_are_refused_where_they_are);
	tcase_add_test(tests, long_lines_are_refused);
	tcase_add_test(tests, files_are_read_whole_or_not_at_all);
	tcase_add_test(tests, random_bytes_never_crash);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
