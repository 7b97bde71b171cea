/* SPDX-License-Identifier: MIT */
/*
 * ask.h - the same question to a reader and to grep, and the two answers compared.
 */
#pragma once

#include "check.h"
#include "draw.h"
#include "lines.h"

/* A comparison under way. It lies on the stack, since it holds a pointer into the heap. */
struct check {
	const struct options *options;
	const struct table *table;
	int list; /* the files, for grep */
	uint64_t random;
	struct word_list top;
	struct check_report *report;
};

/* A reader's answer, a file without a name; `more` may be NULL. -errno as check_run(). */
int ask_reader(struct check *check, const char *question, const char *words, const char *more);

/* grep's answer, by one of grep.h's functions; the words are one a line. */
int ask_grep(struct check *check, int (*ask)(int list, const char *words), int list, const char *words);

/* The answer's lines, sorted; the file is closed. If it is no file but an error, it is passed on. */
int ask_lines(int fd, char end, struct lines *lines);

/* Says so, and reports it, if the two answers to the question about these words differ. */
void ask_compare(struct check *check, const struct lines *index, const struct lines *grep, const char *about);
