/* SPDX-License-Identifier: MIT */
/*
 * memory.h - memory files: how each memfd of the daemon is made.
 */
#ifndef HEAPD_DAEMON_MEMORY_H
#define HEAPD_DAEMON_MEMORY_H

#include <stdint.h>
#include <sys/mman.h>

/*
 * A sparse memfd, called heapd:LABEL in /proc, of that many bytes, mode 0600, close-on-exec, never to change its size or its seals, never
 * executable where the kernel knows how. flags: of memfd_create(), beside those. The descriptor or -errno.
 */
int memory_create(const char *label, uint64_t bytes, unsigned flags);

/*
 * The same file, opened anew for reading alone: what a client gets that may not write. Only the file's owner
 * and root can turn it into a writable one. -EAGAIN: somebody has a lease on it; that is not waited for.
 */
int memory_open_readonly(int fd);

#endif
