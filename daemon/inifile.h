/* SPDX-License-Identifier: MIT */
/*
 * inifile.h - reads files of [Section] and Key=Value lines, as systemd writes them.
 *
 * Lines that begin with # or ; are comments, also between continued lines. A line that ends in an unescaped
 * backslash goes on in the next one, joined by a space. White space around keys and values is dropped; quotes
 * mean nothing. A joined line has the number of its first part.
 */
#ifndef HEAPD_DAEMON_INIFILE_H
#define HEAPD_DAEMON_INIFILE_H

#include <stddef.h>

#define INIFILE_LINE_MAX 4096                  /* bytes of one joined line */
#define INIFILE_SIZE_MAX ((size_t)1024 * 1024) /* bytes of one file */

/* The strings are valid until the callback returns. All three callbacks are required. */
struct inifile_reader {
	void *arg;
	void (*section)(void *arg, unsigned line, const char *name);
	void (*assignment)(void *arg, unsigned line, const char *key, const char *value);
	void (*problem)(void *arg, unsigned line, const char *text);
};

void inifile_parse(const char *text, size_t length, const struct inifile_reader *reader);

/* -errno if the file cannot be read, -EFBIG if it is too large; then nothing was called. */
int inifile_read(const char *path, const struct inifile_reader *reader);

#endif
