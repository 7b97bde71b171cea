/* SPDX-License-Identifier: MIT */
/*
 * corpus.c - owns which files are text, and how they come into memory.
 *
 * Files are read, not mapped: one that is truncated meanwhile must not kill its reader. A file's size and time
 * of change are noted before it is read; who compares answers later leaves out what changed since, so that a
 * machine at work is no reason for a wrong answer.
 */
#include "corpus.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "say.h"

#define BINARY_TEST 4096 /* bytes in which a NUL makes a file binary */

/* Files that nobody would search with grep; the rest of what is not text has a NUL early. */
static bool is_packed(const char *path)
{
	static const char *const endings[] = { ".gz",   ".bz2", ".xz",  ".zst", ".lz4", ".zip",
					       ".png",  ".gif", ".jpg", ".ico", ".pdf", ".ttf",
					       ".woff", ".so",  ".a",   ".o" };
	const char *ending = strrchr(path, '.');

	for (size_t i = 0; ending && i < sizeof(endings) / sizeof(endings[0]); i++) {
		if (strcasecmp(ending, endings[i]) == 0)
			return true;
	}
	return false;
}

static struct corpus_stamp stamp_of(const struct stat *st)
{
	return (struct corpus_stamp){
		.size = (uint64_t)st->st_size,
		.seconds = st->st_mtim.tv_sec,
		.nanoseconds = st->st_mtim.tv_nsec,
	};
}

static int add_file(struct corpus *corpus, const char *path, const struct stat *st)
{
	if (corpus->nfiles == corpus->room) {
		size_t room = corpus->room ? corpus->room * 2 : 4096;
		struct corpus_file *files = reallocarray(corpus->files, room, sizeof(*files));

		if (!files)
			return -ENOMEM;
		corpus->files = files;
		corpus->room = room;
	}
	corpus->files[corpus->nfiles] = (struct corpus_file){ .path = strdup(path), .stamp = stamp_of(st) };
	if (!corpus->files[corpus->nfiles].path)
		return -ENOMEM;
	corpus->bytes += (uint64_t)st->st_size;
	corpus->nfiles++;
	return 0;
}

static int visit(struct corpus *corpus, const FTSENT *entry)
{
	switch (entry->fts_info) {
	case FTS_F:
		if (!is_packed(entry->fts_path))
			return add_file(corpus, entry->fts_path, entry->fts_statp);
		corpus->left_out++;
		return 0;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		if (entry->fts_level == FTS_ROOTLEVEL)
			return say_error(-entry->fts_errno, "%s", entry->fts_path);
		corpus->left_out++;
		return 0;
	default:
		return 0;
	}
}

int corpus_find(struct corpus *corpus, const char *path)
{
	char *const paths[] = { (char *)path, NULL };
	FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, NULL);
	const FTSENT *entry;
	int r = 0;

	if (!tree)
		return say_error(-errno, "%s", path);
	while (r == 0 && (entry = fts_read(tree)))
		r = visit(corpus, entry);
	fts_close(tree);
	return r;
}

static int compare_files(const void *a, const void *b)
{
	const struct corpus_file *x = a, *y = b;

	if (x->stamp.size != y->stamp.size)
		return x->stamp.size < y->stamp.size ? 1 : -1;
	return strcmp(x->path, y->path);
}

void corpus_sort(struct corpus *corpus)
{
	if (corpus->nfiles)
		qsort(corpus->files, corpus->nfiles, sizeof(*corpus->files), compare_files);
}

void corpus_free(struct corpus *corpus)
{
	for (size_t i = 0; i < corpus->nfiles; i++)
		free(corpus->files[i].path);
	free(corpus->files);
	*corpus = (struct corpus){ 0 };
}

static int make_room(struct corpus_text *text, size_t room)
{
	char *bytes;

	if (text->room >= room)
		return 0;
	bytes = realloc(text->bytes, room);
	if (!bytes)
		return -ENOMEM;
	text->bytes = bytes;
	text->room = room;
	return 0;
}

/* Reads up to `limit` bytes in all; less only at the end of the file. */
static bool read_up_to(int fd, struct corpus_text *text, size_t limit)
{
	while (text->size < limit) {
		ssize_t n = read(fd, text->bytes + text->size, limit - text->size);

		if (n == 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0)
			text->size += (size_t)n;
	}
	return true;
}

/* A file may grow while it is read; what matters is how large it was when it was opened. */
static int read_text(int fd, struct corpus_text *text, struct corpus_finding *finding)
{
	enum corpus_kind *kind = &finding->kind;
	struct stat st;
	int r;

	*kind = CORPUS_UNREADABLE;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	finding->stamp = stamp_of(&st);
	r = make_room(text, BINARY_TEST);
	if (r < 0 || !read_up_to(fd, text, BINARY_TEST))
		return r;
	*kind = CORPUS_BINARY;
	if (memchr(text->bytes, '\0', text->size))
		return 0;
	*kind = CORPUS_TOO_LARGE;
	if ((uint64_t)st.st_size > CORPUS_FILE_MAX)
		return 0;
	r = make_room(text, (size_t)st.st_size);
	if (r == 0)
		*kind = read_up_to(fd, text, (size_t)st.st_size) ? CORPUS_TEXT : CORPUS_UNREADABLE;
	return r;
}

int corpus_read(const char *path, struct corpus_text *text, struct corpus_finding *finding)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), r;

	text->size = 0;
	*finding = (struct corpus_finding){ .kind = CORPUS_UNREADABLE };
	if (fd < 0)
		return 0;
	r = read_text(fd, text, finding);
	close(fd);
	return r;
}

int corpus_changed(const char *path, const struct corpus_stamp *stamp)
{
	struct corpus_stamp now;
	struct stat st;

	if (stat(path, &st) < 0)
		return -1;
	now = stamp_of(&st);
	return now.size != stamp->size || now.seconds != stamp->seconds ||
	       now.nanoseconds != stamp->nanoseconds;
}
