/* SPDX-License-Identifier: MIT */
/*
 * ask.c - owns how a question is put to both sides, and what is said if they disagree.
 */
#include "ask.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "say.h"

int ask_reader(struct check *check, const char *question, const char *words, const char *more)
{
	struct child_files files = CHILD_FILES_OURS;
	struct child_args args = { 0 };
	uint64_t start = clock_now();
	int status, r;

	files.output = scratch_open();
	if (files.output < 0)
		return say_error(files.output, "cannot make a temporary file");
	child_self(&args);
	options_pass(check->options, &args);
	child_arg(&args, "--null");
	child_arg(&args, "--ask");
	child_arg(&args, question);
	child_arg(&args, words);
	child_arg(&args, more);
	r = child_run(&args, &files, &status);
	check->report->reader_seconds += clock_seconds_since(start);
	if (r == 0 && status == 0)
		return files.output;
	close(files.output);
	if (r == 0)
		say_error(0, "a reader asked for \"%s\" ended with %s", question, child_fate(status).text);
	return r < 0 ? r : -ECHILD;
}

int ask_grep(struct check *check, int (*ask)(int list, const char *words), int list, const char *words)
{
	uint64_t start = clock_now();
	int fd = ask(list, words);

	check->report->grep_seconds += clock_seconds_since(start);
	return fd;
}

int ask_lines(int fd, char end, struct lines *lines)
{
	int r = fd;

	if (fd < 0)
		return r;
	r = lines_read(lines, fd, end);
	close(fd);
	if (r < 0)
		return say_error(r, "cannot read an answer");
	lines_sort(lines);
	return 0;
}

/* What stands in a path's or a place's line, fit to be printed. */
static void describe_line(const struct line *line, char *text, size_t size)
{
	size_t n = line->length < size - 1 ? line->length : size - 1;

	memcpy(text, line->text, n);
	text[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if (!text[i])
			text[i] = ' ';
	say_printable(text);
}

void ask_compare(struct check *check, const struct lines *index, const struct lines *grep, const char *about)
{
	char text[512], words[256];
	struct line line;
	bool in_index;

	if (!lines_differ(index, grep, &line, &in_index))
		return;
	check->report->differs = true;
	describe_line(&line, text, sizeof(text));
	describe_line(&(struct line){ about, strlen(about) }, words, sizeof(words));
	say_error(0, "answers differ: only %s has \"%s\" (index %zu lines, grep %zu, asked for %s)",
		  in_index ? "the index" : "grep", text, index->n, grep->n, words);
}
