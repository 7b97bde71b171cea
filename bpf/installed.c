/* SPDX-License-Identifier: MIT */
/*
 * Owns a descriptor of each file. An upgrade puts another file in the place of one; who runs the old one goes on doing so,
 * and a probe is set on a file, not on a path. So what is attached to is opened first, and known by what it is: a file that
 * comes a moment later is seen to be another. The descriptor keeps an old file's inode, so its number is not given to a
 * new one.
 */
#include "installed.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct installed_id id_of(const struct stat *st)
{
	return (struct installed_id){
		.dev = st->st_dev, .ino = st->st_ino, .size = st->st_size, .written = st->st_mtim
	};
}

static struct installed_id id_of_fd(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? id_of(&st) : (struct installed_id){ 0 };
}

static struct installed_id id_of_path(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? id_of(&st) : (struct installed_id){ 0 };
}

/* One that was written over in its place is another, too. */
static bool is_same(const struct installed_id *a, const struct installed_id *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->written.tv_sec == b->written.tv_sec && a->written.tv_nsec == b->written.tv_nsec;
}

static void file_open(struct installed_file *file, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	*file = (struct installed_file){ .path = path, .fds = { fd }, .n = 1, .begun = id_of_fd(fd) };
	file->seen = file->begun;
}

void installed_init(struct installed *installed, const char *daemon, const char *library)
{
	file_open(&installed->files[INSTALLED_DAEMON], daemon);
	file_open(&installed->files[INSTALLED_LIBRARY], library);
}

void installed_deinit(struct installed *installed)
{
	for (unsigned k = 0; k < INSTALLED_FILES; k++)
		for (unsigned i = 0; i < installed->files[k].n; i++)
			if (installed->files[k].fds[i] >= 0)
				close(installed->files[k].fds[i]);
}

static bool is_known(const struct installed_file *file, const struct installed_id *id)
{
	bool known = false;

	for (unsigned i = 0; i < file->n && !known; i++) {
		struct installed_id each = id_of_fd(file->fds[i]);

		known = is_same(&each, id);
	}
	return known;
}

void installed_add(struct installed *installed, enum installed_which which, int fd)
{
	struct installed_file *file = &installed->files[which];
	struct installed_id id = id_of_fd(fd);

	if (file->n == INSTALLED_GENERATIONS || is_known(file, &id))
		close(fd);
	else
		file->fds[file->n++] = fd;
}

/* Between two files there may be none for a moment: that is no change yet. */
static enum installed_change file_look(struct installed_file *file, bool *missing)
{
	static const struct installed_id none;
	struct installed_id now = id_of_path(file->path);
	bool settled = is_same(&now, &file->seen);

	file->seen = now;
	if (is_same(&now, &none)) {
		*missing = true;
		return INSTALLED_SAME;
	}
	if (is_same(&now, &file->begun))
		return INSTALLED_SAME;
	return settled ? INSTALLED_SETTLED : INSTALLED_CHANGED;
}

enum installed_change installed_look(struct installed *installed)
{
	bool missing = false;
	enum installed_change a = file_look(&installed->files[INSTALLED_DAEMON], &missing);
	enum installed_change b = file_look(&installed->files[INSTALLED_LIBRARY], &missing);

	if (a == INSTALLED_SAME && b == INSTALLED_SAME)
		return INSTALLED_SAME;
	return missing || a == INSTALLED_CHANGED || b == INSTALLED_CHANGED ? INSTALLED_CHANGED
									   : INSTALLED_SETTLED;
}
