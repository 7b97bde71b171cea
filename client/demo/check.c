/* SPDX-License-Identifier: MIT */
/*
 * check.c - owns the comparison of the index with grep.
 *
 * Four kinds of questions: how often the commonest words stand there (all places of all files counted); all
 * places of words drawn by lot, of rare ones and of some that stand nowhere; all words, and how often they
 * stand there, that begin with certain letters, which would find a word that is there twice or not at all; the
 * files that contain all of a set of words. The answers come from reader processes, started for one question
 * each, and from grep over the same files. A file that has changed since it was found is left out on both
 * sides.
 */
#include "check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "grep.h"
#include "random.h"
#include "say.h"

#define SAMPLE_PATHS 2  /* shown of the sample's answer */
#define SETS_MAX     20 /* grep goes through all files for each */
#define PREFIXES     6

static int parse_top(struct check *check, const struct lines *lines, uint64_t *counts)
{
	int r = 0;

	for (size_t i = 0; i < lines->n && i < CHECK_TOP && r == 0; i++) {
		const char *blank = memchr(lines->at[i].text, ' ', lines->at[i].length);
		const char *end = lines->at[i].text + lines->at[i].length;

		if (!blank)
			return say_error(-EPROTO, "a reader's answer makes no sense");
		counts[i] = strtoull(lines->at[i].text, NULL, 10);
		r = word_list_add(&check->top, blank + 1, (size_t)(end - blank - 1));
	}
	return r;
}

static void compare_counts(struct check *check, const uint64_t *index, const uint64_t *grep)
{
	for (size_t i = 0; i < check->top.n; i++) {
		check->report->places += grep[i];
		if (index[i] == grep[i])
			continue;
		check->report->differs = true;
		say_error(0,
			  "answers differ: \"%s\" stands there %" PRIu64
			  " times says the index, grep %" PRIu64,
			  check->top.words[i], index[i], grep[i]);
	}
}

/* The reader's order is by count, the largest first. */
static void describe_top(struct check *check, const uint64_t *counts)
{
	char *text = check->report->top;
	size_t size = sizeof(check->report->top), n = 0;

	for (size_t i = 0; i < check->top.n && i < 6 && n < size; i++)
		n += (size_t)snprintf(text + n, size - n, "%s%s %" PRIu64, i ? ", " : "", check->top.words[i],
				      counts[i]);
}

static int count_with_grep(struct check *check, uint64_t *counts)
{
	char *words = word_list_join(&check->top);
	int fd = words ? ask_grep(check, grep_occurrences, check->list, words) : -ENOMEM, r;

	free(words);
	if (fd < 0)
		return fd;
	r = lines_count(fd, check->top.words, check->top.n, counts);
	close(fd);
	return r < 0 ? say_error(r, "cannot read grep's answer") : 0;
}

static int check_top(struct check *check)
{
	uint64_t index[CHECK_TOP] = { 0 }, grep[CHECK_TOP] = { 0 };
	struct lines lines = { 0 };
	int fd = ask_reader(check, "top", "20", NULL), r = fd;

	if (fd >= 0) {
		r = lines_read(&lines, fd, '\n');
		close(fd);
	}
	if (r == 0)
		r = parse_top(check, &lines, index);
	if (r == 0 && check->top.n)
		r = count_with_grep(check, grep);
	if (r == 0) {
		compare_counts(check, index, grep);
		check->report->commonest = (unsigned)check->top.n;
		describe_top(check, index);
	}
	lines_free(&lines);
	return r;
}
_Static_assert(CHECK_TOP == 20, "as in the question");

static int draw_rare(struct check *check, unsigned n, struct word_list *list)
{
	struct lines lines = { 0 };
	char number[24], seed[24];
	int r;

	snprintf(number, sizeof(number), "%u", n);
	snprintf(seed, sizeof(seed), "%" PRIu64, random_next(&check->random));
	r = ask_lines(ask_reader(check, "rare", number, seed), '\n', &lines);
	for (size_t i = 0; i < lines.n && r == 0; i++)
		r = word_list_add(list, lines.at[i].text, lines.at[i].length);
	lines_free(&lines);
	return r;
}

/* Two in three from files, one in three rare, and two that stand nowhere; the commonest were asked for already. */
static int draw_words(struct check *check, struct word_list *list)
{
	unsigned n = check->options->queries;
	int r = 0;

	for (unsigned i = 0; i < n - n / 3 && r == 0; i++) {
		struct word_list one = { 0 };

		r = draw_from_one_file(check->table, &check->random, 1, &one);
		if (r == 0 && one.n && !word_list_has(&check->top, one.words[0], strlen(one.words[0])))
			r = word_list_add(list, one.words[0], strlen(one.words[0]));
		word_list_free(&one);
	}
	if (r == 0)
		r = draw_rare(check, n / 3, list);
	for (unsigned i = 0; i < 2 && r == 0; i++)
		r = draw_absent(&check->random, list);
	return r;
}

static int compare_places(struct check *check, const char *words)
{
	struct lines index = { 0 }, grep = { 0 };
	int r = ask_lines(ask_reader(check, "places", words, NULL), '\n', &index);

	if (r == 0)
		r = ask_lines(ask_grep(check, grep_places, check->list, words), '\n', &grep);
	if (r == 0) {
		ask_compare(check, &index, &grep, words);
		check->report->places += grep.n;
	}
	lines_free(&index);
	lines_free(&grep);
	return r;
}

static int check_places(struct check *check)
{
	struct word_list list = { 0 };
	char *words = NULL;
	int r = draw_words(check, &list);

	if (r == 0)
		r = (words = word_list_join(&list)) ? compare_places(check, words) : -ENOMEM;
	check->report->words += (unsigned)list.n;
	word_list_free(&list);
	free(words);
	return r;
}

/* The first letters of words drawn by lot; a word has at least as many. */
static int draw_prefixes(struct check *check, struct word_list *list)
{
	struct word_list words = { 0 };
	int r = 0;

	for (unsigned i = 0; i < PREFIXES && r == 0; i++)
		r = draw_from_one_file(check->table, &check->random, 1, &words);
	for (size_t i = 0; i < words.n && r == 0; i++)
		r = word_list_add(list, words.words[i], GREP_PREFIX);
	word_list_free(&words);
	return r;
}
_Static_assert(GREP_PREFIX <= WORD_MIN, "each word has a prefix");

static int compare_beginnings(struct check *check, const char *prefixes)
{
	struct lines index = { 0 }, grep = { 0 };
	int r = ask_lines(ask_reader(check, "words", prefixes, NULL), '\n', &index);

	if (r == 0)
		r = ask_lines(ask_grep(check, grep_beginnings, check->list, prefixes), '\n', &grep);
	if (r == 0) {
		check->report->places += grep.n;
		r = lines_count_equal(&grep);
	}
	if (r == 0)
		ask_compare(check, &index, &grep, prefixes);
	check->report->beginnings += (unsigned)grep.n;
	lines_free(&index);
	lines_free(&grep);
	return r;
}

static int check_beginnings(struct check *check)
{
	struct word_list list = { 0 };
	char *prefixes = NULL;
	int r = draw_prefixes(check, &list);

	if (r == 0 && list.n)
		r = (prefixes = word_list_join(&list)) ? compare_beginnings(check, prefixes) : -ENOMEM;
	word_list_free(&list);
	free(prefixes);
	return r;
}

/* As one does it by hand: the files with the first word, of these those with the second, and so on. */
static int files_with_all(struct check *check, const struct word_list *list)
{
	int fd = dup(check->list);

	for (size_t i = 0; i < list->n && fd >= 0; i++) {
		int fewer = ask_grep(check, grep_files, fd, list->words[i]);

		close(fd);
		fd = fewer;
	}
	return fd;
}

static void describe_set(struct check *check, const struct word_list *list, const struct lines *answer)
{
	char *text = check->report->sample;
	size_t size = sizeof(check->report->sample), n = 0;

	for (size_t i = 0; i < list->n && n < size; i++)
		n += (size_t)snprintf(text + n, size - n, "%s%s", i ? " and " : "", list->words[i]);
	if (n < size)
		n += (size_t)snprintf(text + n, size - n, ": %zu file%s", answer->n,
				      answer->n == 1 ? "" : "s");
	for (size_t i = 0; i < answer->n && i < SAMPLE_PATHS && n < size; i++)
		n += (size_t)snprintf(text + n, size - n, ", %s", answer->at[i].text);
	if (answer->n > SAMPLE_PATHS && n < size)
		snprintf(text + n, size - n, ", ...");
	say_printable(text);
}

static int compare_files(struct check *check, const struct word_list *list, const char *words)
{
	struct lines index = { 0 }, grep = { 0 };
	int r = ask_lines(ask_reader(check, "files", words, NULL), '\0', &index);

	if (r == 0)
		r = ask_lines(files_with_all(check, list), '\0', &grep);
	if (r == 0) {
		ask_compare(check, &index, &grep, words);
		check->report->sets++;
		if (!check->report->sample[0] && grep.n > 1)
			describe_set(check, list, &index);
	}
	lines_free(&index);
	lines_free(&grep);
	return r;
}

/* Words of one file, so that the answer is not empty. */
static int check_files(struct check *check)
{
	struct word_list list = { 0 };
	size_t n = 2 + random_below(&check->random, 2);
	char *words = NULL;
	int r = draw_from_one_file(check->table, &check->random, n, &list);

	if (r == 0 && list.n)
		r = (words = word_list_join(&list)) ? compare_files(check, &list, words) : -ENOMEM;
	word_list_free(&list);
	free(words);
	return r;
}

static int check_all(struct check *check)
{
	static int (*const checks[])(struct check * check) = { check_top, check_places, check_beginnings };
	unsigned n = sizeof(checks) / sizeof(checks[0]), sets = check->options->queries / 6 + 1;
	int r = 0;

	if (sets > SETS_MAX)
		sets = SETS_MAX;
	for (unsigned i = 0; i < n + sets && r == 0; i++) {
		say_progress(check->options->quiet, "Checking", i, n + sets, "");
		r = i < n ? checks[i](check) : check_files(check);
	}
	return r;
}

int check_run(const struct options *options, const struct table *table, struct check_report *report)
{
	struct check check = {
		.options = options,
		.table = table,
		.list = grep_list_files(table),
		.random = options->seed,
		.report = report,
	};
	int r;

	*report = (struct check_report){ 0 };
	if (check.list < 0)
		return check.list;
	r = check_all(&check);
	word_list_free(&check.top);
	close(check.list);
	return r;
}
