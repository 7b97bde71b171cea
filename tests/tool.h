/* SPDX-License-Identifier: MIT */
/* For tests of heapctl: runs it, and finds figures in the JSON that it writes on one line. */
#ifndef HEAPD_TESTS_TOOL_H
#define HEAPD_TESTS_TOOL_H

#include <check.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

static inline const char *tool_path(void)
{
	static char path[512];
	const char *build = getenv("HEAPD_TEST_BUILD");

	snprintf(path, sizeof(path), "%s/heapctl", build ? build : "build");
	return path;
}

/*
 * All that comes. A collection that heapctl waits for may wait for this thread to say what it holds, and ThreadSanitizer keeps its
 * signal back while the C library reads for fgetc(), but not in poll().
 */
static inline void tool_read(int from, FILE *to)
{
	struct pollfd p = { .fd = from, .events = POLLIN };
	char piece[4096];
	ssize_t n = -1;

	while (n) {
		if (poll(&p, 1, -1) < 1)
			continue;
		n = read(from, piece, sizeof(piece));
		ck_assert_int_ge(n, 0);
		fwrite(piece, 1, (size_t)n, to);
	}
}

/* What it writes with these arguments; to be freed. It has to end with that status. */
static inline char *tool_run(int expected, const char *arguments)
{
	char command[1024], *text = NULL;
	size_t size;
	FILE *from, *to = open_memstream(&text, &size);
	int status;

	snprintf(command, sizeof(command), "%s -H %s --json=short %s", tool_path(), FIXTURE_HEAP, arguments);
	from = popen(command, "re");
	ck_assert(from && to);
	tool_read(fileno(from), to);
	status = pclose(from);
	ck_assert_int_eq(fclose(to), 0);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == expected, "heapctl %s: status %d: %s",
		      arguments, status, text);
	return text;
}

/* What stands behind the key in the record, which ends at the next brace; NULL: it has none. */
static inline const char *tool_value(const char *record, const char *key)
{
	char quoted[80];
	const char *end = strchr(record, '}'), *at;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	at = strstr(record, quoted);
	return at && end && at < end ? at + strlen(quoted) : NULL;
}

static inline uint64_t tool_number(const char *record, const char *key)
{
	const char *value = tool_value(record, key);

	ck_assert_msg(value != NULL, "no '%s' in %s", key, record);
	return strtoull(value, NULL, 10);
}

static inline bool tool_is(const char *record, const char *key, const char *value)
{
	const char *at = tool_value(record, key);
	size_t n = strlen(value);

	at += at && *at == '"';
	return at && strncmp(at, value, n) == 0 && strchr("\",}", at[n]);
}

/* The next record behind `at` whose key has that value; NULL: there is none. */
static inline const char *tool_next(const char *at, const char *key, const char *value)
{
	while (at && (at = strchr(at + 1, '{')))
		if (tool_is(at, key, value))
			return at;
	return NULL;
}

#endif
