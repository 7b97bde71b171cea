/* SPDX-License-Identifier: MIT */
/*
 * images_maps.h - mappings of memory files that stay when a daemon dies, for the next one: to make them anew takes longer than all else.
 */
#ifndef HEAPD_CRASH_IMAGES_MAPS_H
#define HEAPD_CRASH_IMAGES_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* libc's own: its names are the hooks'. */
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);

/* As mmap(2) of the whole of a file, writable and shared; the same that there was, if there was one. */
void *maps_file(void *at, size_t bytes, int flags, int fd, ino_t inode);
/* Something of ours lies in there: it is not to be reserved, nor unmapped. Those mappings are free for the next daemon. */
bool maps_leave(void *at, size_t bytes);
bool maps_any(const void *at, size_t bytes);
/* The file is gone. */
void maps_forget(ino_t inode);

#endif
