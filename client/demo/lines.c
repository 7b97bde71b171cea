/* SPDX-License-Identifier: MIT */
/*
 * lines.c - owns the comparison of answers: as multisets of lines, whatever their order.
 */
#include "lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(struct lines *lines, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	lines->bytes = malloc((size_t)st.st_size + 1);
	if (!lines->bytes)
		return -ENOMEM;
	while (lines->size < (size_t)st.st_size) {
		ssize_t n = pread(fd, lines->bytes + lines->size, (size_t)st.st_size - lines->size,
				  (off_t)lines->size);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		lines->size += (size_t)n;
	}
	return 0;
}

static size_t count_ends(const struct lines *lines, char end)
{
	size_t n = 0;

	for (size_t i = 0; i < lines->size; i++)
		n += lines->bytes[i] == end;
	return n;
}

static int cut(struct lines *lines, char end)
{
	const char *at = lines->bytes, *stop;

	lines->at = calloc(count_ends(lines, end) + 1, sizeof(*lines->at));
	if (!lines->at)
		return -ENOMEM;
	while (at && (stop = memchr(at, end, (size_t)(lines->bytes + lines->size - at)))) {
		lines->at[lines->n++] = (struct line){ at, (size_t)(stop - at) };
		at = stop + 1;
	}
	return 0;
}

int lines_read(struct lines *lines, int fd, char end)
{
	struct lines read = { 0 };
	int r = read_all(&read, fd);

	if (r == 0)
		r = cut(&read, end);
	if (r == 0)
		*lines = read;
	else
		lines_free(&read);
	return r;
}

void lines_free(struct lines *lines)
{
	free(lines->bytes);
	free(lines->at);
	*lines = (struct lines){ 0 };
}

static int compare(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int order = memcmp(x->text, y->text, x->length < y->length ? x->length : y->length);

	return order ? order : (x->length > y->length) - (x->length < y->length);
}

void lines_sort(struct lines *lines)
{
	if (lines->n)
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): not the ones freed, lines_count_equal() has put others there */
		qsort(lines->at, lines->n, sizeof(*lines->at), compare);
}

static size_t run_length(const struct lines *lines, size_t first)
{
	size_t i = first + 1;

	while (i < lines->n && compare(&lines->at[i], &lines->at[first]) == 0)
		i++;
	return i - first;
}

/* Each output line is at most 21 bytes longer than a line of its run, and the first run is not empty. */
int lines_count_equal(struct lines *lines)
{
	struct lines counted = { .at = calloc(lines->n + 1, sizeof(*counted.at)),
				 .bytes = malloc(lines->size + 21 * lines->n + 1) };

	if (!counted.at || !counted.bytes) {
		lines_free(&counted);
		return -ENOMEM;
	}
	for (size_t i = 0, run; i < lines->n; i += run) {
		char *at = counted.bytes + counted.size;
		int n;

		run = run_length(lines, i);
		n = sprintf(at, "%zu %.*s", run, (int)lines->at[i].length, lines->at[i].text);
		counted.at[counted.n++] = (struct line){ at, (size_t)n };
		counted.size += (size_t)n + 1;
	}
	lines_free(lines);
	*lines = counted;
	lines_sort(lines);
	return 0;
}

bool lines_differ(const struct lines *a, const struct lines *b, struct line *line, bool *in_a)
{
	for (size_t i = 0; i < a->n || i < b->n; i++) {
		int order = i == a->n ? 1 : i == b->n ? -1 : compare(&a->at[i], &b->at[i]);

		if (order == 0)
			continue;
		*in_a = order < 0;
		*line = order < 0 ? a->at[i] : b->at[i];
		return true;
	}
	return false;
}

int lines_count(int fd, char *const *texts, size_t n, uint64_t *counts)
{
	int copy = dup(fd);
	FILE *f = copy < 0 ? NULL : fdopen(copy, "r");
	size_t room = 0;
	char *line = NULL;
	ssize_t length;

	if (!f)
		return -errno;
	rewind(f);
	while ((length = getline(&line, &room, f)) > 0) {
		line[length - 1] = '\0';
		for (size_t i = 0; i < n; i++)
			counts[i] += strcmp(line, texts[i]) == 0;
	}
	free(line);
	fclose(f);
	return 0;
}
