/* SPDX-License-Identifier: MIT */
/*
 * lines.h - the lines of an answer, and whether two answers are the same.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct line {
	const char *text; /* without its end */
	size_t length;
};

struct lines {
	char *bytes;
	size_t size;
	struct line *at;
	size_t n;
};

/* All of a file, cut at `end`, which is '\n' or '\0'. */
int lines_read(struct lines *lines, int fd, char end);
void lines_sort(struct lines *lines);
/* Sorted lines become one for each different one: "COUNT LINE", sorted by their bytes. As "uniq -c". */
int lines_count_equal(struct lines *lines);
void lines_free(struct lines *lines);

/* Of two sorted answers, the first line that only one of them has; false if they are the same. */
bool lines_differ(const struct lines *a, const struct lines *b, struct line *line, bool *in_a);

/* Adds to counts[i] how many lines of the file are texts[i]; for answers too long to be kept in memory. */
int lines_count(int fd, char *const *texts, size_t n, uint64_t *counts);
