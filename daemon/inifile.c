/* SPDX-License-Identifier: MIT */
/*
 * inifile.c - owns the form of configuration files: physical lines, joined lines, sections, assignments.
 *
 * Right because it looks only at the bytes between text and text + length, copies each joined line into a
 * buffer of fixed size, and hands on nothing but terminated strings from that buffer. What it cannot
 * understand it reports with its line and skips; it never stops early.
 */
#include "inifile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WHITESPACE " \t\r\v\f"

struct parser {
	const struct inifile_reader *reader;
	char line[INIFILE_LINE_MAX + 1];
	size_t length;
	unsigned first;      /* number of the joined line's first part */
	bool joining;        /* the part before ended in a backslash */
	const char *problem; /* why the joined line is skipped */
};

static char *strip(char *text)
{
	size_t n;

	text += strspn(text, WHITESPACE);
	n = strlen(text);
	while (n > 0 && strchr(WHITESPACE, text[n - 1]))
		n--;
	text[n] = '\0';
	return text;
}

static void problem_with(const struct parser *p, const char *text, const char *why)
{
	char message[160];

	snprintf(message, sizeof(message), "'%.60s%s' %s", text, strlen(text) > 60 ? "..." : "", why);
	p->reader->problem(p->reader->arg, p->first, message);
}

static void finish_section(const struct parser *p, char *text)
{
	size_t n = strlen(text);

	if (text[n - 1] != ']' || n < 3) {
		problem_with(p, text, "is not a section; write [Name] on a line of its own");
		return;
	}
	text[n - 1] = '\0';
	p->reader->section(p->reader->arg, p->first, strip(text + 1));
}

static void finish_assignment(const struct parser *p, char *text)
{
	char *equals = strchr(text, '='), *key;

	if (!equals) {
		problem_with(p, text, "is neither a [Section] nor Key=Value");
		return;
	}
	if (equals == text) {
		problem_with(p, text, "has no key before the '='");
		return;
	}
	*equals = '\0';
	key = strip(text);
	p->reader->assignment(p->reader->arg, p->first, key, strip(equals + 1));
}

static void finish_line(struct parser *p)
{
	char *text;

	p->line[p->length] = '\0';
	text = strip(p->line);
	if (p->problem)
		p->reader->problem(p->reader->arg, p->first, p->problem);
	else if (text[0] == '[')
		finish_section(p, text);
	else if (text[0] != '\0')
		finish_assignment(p, text);
	p->length = 0;
	p->joining = false;
	p->problem = NULL;
}

static void append_part(struct parser *p, const char *part, size_t length)
{
	if (length > INIFILE_LINE_MAX - p->length) {
		p->problem = "the line is longer than 4096 bytes";
		return;
	}
	memcpy(p->line + p->length, part, length);
	p->length += length;
}
_Static_assert(INIFILE_LINE_MAX == 4096, "the message above names it");

static bool is_comment(const char *line, size_t length)
{
	size_t i = 0;

	while (i < length && line[i] != '\0' && strchr(WHITESPACE, line[i]))
		i++;
	return i < length && (line[i] == '#' || line[i] == ';');
}

/* An odd number of backslashes at the end; pairs of them are text. */
static bool ends_escaped(const char *line, size_t length)
{
	size_t n = 0;

	while (n < length && line[length - 1 - n] == '\\')
		n++;
	return n % 2 == 1;
}

static void parse_physical(struct parser *p, unsigned number, const char *line, size_t length)
{
	if (length > 0 && line[length - 1] == '\r')
		length--;
	if (is_comment(line, length))
		return;
	if (!p->joining)
		p->first = number;
	if (memchr(line, '\0', length))
		p->problem = "the line holds a NUL byte";
	p->joining = ends_escaped(line, length);
	if (!p->joining) {
		append_part(p, line, length);
		finish_line(p);
		return;
	}
	append_part(p, line, length - 1);
	append_part(p, " ", 1);
}

void inifile_parse(const char *text, size_t length, const struct inifile_reader *reader)
{
	static const char byte_order_mark[] = "\xef\xbb\xbf";
	struct parser p = { .reader = reader };
	size_t at = 0;

	if (length >= 3 && memcmp(text, byte_order_mark, 3) == 0)
		at = 3;
	for (unsigned number = 1; at < length; number++) {
		const char *newline = memchr(text + at, '\n', length - at);
		size_t n = newline ? (size_t)(newline - text) - at : length - at;

		parse_physical(&p, number, text + at, n);
		at += n + 1;
	}
	if (p.joining)
		finish_line(&p);
}

/* Reads one byte more than allowed, to tell a file that is just full from one that is too large. */
static ssize_t read_all(int fd, char *text)
{
	size_t done = 0;

	while (done <= INIFILE_SIZE_MAX) {
		ssize_t n = read(fd, text + done, INIFILE_SIZE_MAX + 1 - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return (ssize_t)done;
		done += (size_t)n;
	}
	return -EFBIG;
}

int inifile_read(const char *path, const struct inifile_reader *reader)
{
	char *text = NULL;
	ssize_t n;
	int fd, r;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	text = malloc(INIFILE_SIZE_MAX + 1);
	if (!text) {
		r = -ENOMEM;
		goto out;
	}
	n = read_all(fd, text);
	if (n < 0) {
		r = (int)n;
		goto out;
	}
	inifile_parse(text, (size_t)n, reader);
	r = 0;
out:
	free(text);
	close(fd);
	return r;
}
