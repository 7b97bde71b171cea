/* SPDX-License-Identifier: MIT */
/*
 * grep.h - the same questions, put to grep.
 */
#pragma once

#include "schema.h"

#define GREP_PREFIX 2 /* bytes of a prefix in grep_beginnings() */

/* The names of the text files that count, each with a NUL behind it, in a file without a name; -errno. */
int grep_list_files(const struct table *table);

/*
 * Each runs grep over the files of such a list and returns its answer, a file without a name; -errno after having
 * said why, -EINTR as in child.h. `words` are one a line.
 */
int grep_places(int list, const char *words);      /* "PATH\0OFFSET:WORD\n" */
int grep_occurrences(int list, const char *words); /* "WORD\n", as often as it stands there */
int grep_beginnings(int list,
		    const char *prefixes);  /* "WORD\n", as often as it stands there: words that begin so */
int grep_files(int list, const char *word); /* "PATH\0": files with the word; a list again */
