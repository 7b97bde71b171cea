/* SPDX-License-Identifier: MIT */
/*
 * corpus.h - finding the files to be indexed, and reading one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* What a file was like when it was found: enough to see later whether it has changed. */
struct corpus_stamp {
	uint64_t size;
	int64_t seconds, nanoseconds; /* of its last change */
};

struct corpus_file {
	char *path;
	struct corpus_stamp stamp;
};

/* A list in malloc memory; the largest file comes first, so that no worker meets it last. */
struct corpus {
	struct corpus_file *files;
	size_t nfiles, room;
	size_t left_out; /* by their names' endings */
	uint64_t bytes;
};

enum corpus_kind {
	CORPUS_TEXT = 1,
	CORPUS_BINARY,     /* a NUL in its first 4 KiB */
	CORPUS_TOO_LARGE,  /* more than CORPUS_FILE_MAX */
	CORPUS_UNREADABLE, /* or gone, or no plain file any more */
};

#define CORPUS_FILE_MAX (256ul << 20) /* so that an offset has 32 bits, and a worker stays small */

struct corpus_text {
	char *bytes;
	size_t size, room;
};

/* Adds all plain files below a directory, or a file itself; symbolic links below it are not followed. */
int corpus_find(struct corpus *corpus, const char *path);
void corpus_sort(struct corpus *corpus);
void corpus_free(struct corpus *corpus);

/* What a file was found to be, and its stamp as it was before it was read. */
struct corpus_finding {
	enum corpus_kind kind;
	struct corpus_stamp stamp;
};

/* Reads a whole file if it is text; -ENOMEM is the only error. The text's memory is used again. */
int corpus_read(const char *path, struct corpus_text *text, struct corpus_finding *finding);

/* -1 if the file is gone, 1 if it has changed, 0 if it is as it was. */
int corpus_changed(const char *path, const struct corpus_stamp *stamp);
