/* SPDX-License-Identifier: MIT */
/*
 * refusal.h - why a request was refused: the sentence that its sender reads.
 */
#ifndef HEAPD_DAEMON_REFUSAL_H
#define HEAPD_DAEMON_REFUSAL_H

#include <stddef.h>

struct refusal {
	char text[256]; /* as long as the text of a message */
};

/* Writes the sentence; returns error (negative), so that a check is one statement. */
int refuse(struct refusal *why, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A name out of a message: terminated within size, not empty, printable ASCII; else -EINVAL. */
int refuse_name(struct refusal *why, const char *what, const char *name, size_t size);

#endif
