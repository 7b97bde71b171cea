/* SPDX-License-Identifier: MIT */
/*
 * grep.c - owns how grep is asked, so that its answer can be compared byte for byte.
 *
 * LC_ALL=C: bytes above 127 are no letters. -w: the match is neither preceded nor followed by a letter, a
 * digit or an underscore, which is what words.c calls a word; \b and \w with -P mean the same (-P, because -w
 * with a pattern takes ten times as long). -F: the words are no patterns. -a: text is what the index says is
 * text. xargs hands over the very files of the index, in several calls of grep.
 */
#include "grep.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "claims.h"
#include "say.h"
#include "words.h"

#define XARGS_NO_MATCH 123 /* some call of grep ended with 1 to 125: 1 is "no match" */

int grep_list_files(const struct table *table)
{
	int fd = scratch_open();
	FILE *f = fd < 0 ? NULL : fdopen(dup(fd), "w");
	bool written;

	if (!f)
		return say_error(fd < 0 ? fd : -errno, "cannot make a temporary file");
	for (uint64_t i = 0; i < table->nfiles; i++) {
		const struct attempt *winner = heapd_load(&table->files[i]->winner);

		if (winner && winner->kind == CORPUS_TEXT && claims_counts(winner))
			fwrite(table->files[i]->path, 1, strlen(table->files[i]->path) + 1, f);
	}
	written = fflush(f) == 0;
	if (fclose(f) == 0 && written)
		return fd;
	close(fd);
	return say_error(-EIO, "cannot write the list of files");
}

/* Whatever grep or xargs complains about would make the comparison worthless. */
static int check_complaints(int errors, int status)
{
	char text[512];
	ssize_t n = pread(errors, text, sizeof(text) - 1, 0);

	if (n <= 0 && WIFEXITED(status) &&
	    (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == XARGS_NO_MATCH))
		return 0;
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	say_error(0, "grep ended with %s: %s", child_fate(status).text, text);
	return -EIO;
}

/* Of bytes that mean themselves: prefixes are letters, digits and underscores. */
static char *pattern_of_beginnings(const char *prefixes)
{
	char *pattern = NULL;

	if (asprintf(&pattern, "\\b(%s)\\w{0,%d}\\b", prefixes, WORD_MAX - GREP_PREFIX) < 0)
		return NULL;
	for (char *at = pattern; (at = strchr(at, '\n')); at++)
		*at = '|';
	return pattern;
}

static int run_grep(int list, const char *flags, const char *words, int output, int errors)
{
	struct child_files files = { list, output, errors };
	struct child_args args = { 0 };
	int status, r;

	child_arg(&args, "env");
	child_arg(&args, "LC_ALL=C");
	child_arg(&args, "xargs");
	child_arg(&args, "-0r");
	child_arg(&args, "grep");
	child_arg(&args, flags);
	child_arg(&args, "-e");
	child_arg(&args, words);
	child_arg(&args, "--");
	r = child_run(&args, &files, &status);
	if (r < 0)
		return r == -EINTR ? r : say_error(r, "cannot run grep");
	return check_complaints(errors, status);
}

static int ask_grep(int list, const char *flags, const char *words)
{
	int output = scratch_open(), errors = scratch_open(), r = -EIO;

	if (output < 0 || errors < 0)
		say_error(output < 0 ? output : errors, "cannot make a temporary file");
	else
		r = run_grep(list, flags, words, output, errors);
	if (errors >= 0)
		close(errors);
	if (r == 0)
		return output;
	if (output >= 0)
		close(output);
	return r;
}

int grep_places(int list, const char *words)
{
	return ask_grep(list, "-abHoZwF", words);
}

int grep_occurrences(int list, const char *words)
{
	return ask_grep(list, "-ahowF", words);
}

int grep_beginnings(int list, const char *prefixes)
{
	char *pattern = pattern_of_beginnings(prefixes);
	int fd = pattern ? ask_grep(list, "-ahoP", pattern) : say_error(-ENOMEM, "grep");

	free(pattern);
	return fd;
}

int grep_files(int list, const char *word)
{
	return ask_grep(list, "-alZwF", word);
}
