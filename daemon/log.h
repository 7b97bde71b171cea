/* SPDX-License-Identifier: MIT */
/*
 * log.h - log lines on one file descriptor, one write(2) each.
 *
 * A struct log is made once, by log_init(), and passed to whoever logs. Any thread may write to it at any
 * time: a line is put together on the caller's stack and leaves in a single system call, so no lock is
 * needed and lines never mix. errno is preserved, and %m works.
 */
#ifndef HEAPD_DAEMON_LOG_H
#define HEAPD_DAEMON_LOG_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <syslog.h>

#include "journal.h"

/* The longest line, its prefix and its newline included. Under PIPE_BUF, so that pipes keep it whole. */
#define LOG_LINE_MAX 1024

/* Lines that one limit lets through in one window. */
#define LOG_LIMIT_BURST          5 /* unless the limit says otherwise */
#define LOG_LIMIT_WINDOW_SECONDS 10

enum log_target {
	LOG_TARGET_AUTO,    /* journal if the descriptor is a stream of journald, else console */
	LOG_TARGET_JOURNAL, /* "<N>text" as sd-daemon(3) has it; journald adds the time */
	LOG_TARGET_CONSOLE, /* "2025-01-31 12:00:00.000 warning: text" */
};

struct log {
	int fd;                /* not owned */
	bool prefixed;         /* "<N>" instead of time and level */
	bool is_socket;        /* sent without waiting: a stuck journald must not stall the daemon */
	int journal;           /* of journal_open(), -1 if there is none; open as long as the process lives */
	_Atomic int level;     /* lines of a greater priority number are dropped; any thread */
	_Atomic uint32_t lost; /* lines that could not be written and have not been told of; any thread */
};

/*
 * Limits what clients can make the daemon write. It belongs to one place in the code and should live where
 * a client cannot get a fresh one by reconnecting. All-zero but for the name is its first state.
 */
struct log_limit {
	const char *what;       /* what the lines are about, in the plural: "malformed requests" */
	uint32_t burst;         /* 0: LOG_LIMIT_BURST */
	_Atomic uint64_t state; /* when the window began (1/10 s, never 0) << 32 | lines asked for since */
};

void log_init(struct log *log, int fd, enum log_target target, int level);
void log_set_level(struct log *log, int level);
bool log_is_journal(int fd);

void log_write(struct log *log, int priority, const char *format, ...) __attribute__((format(printf, 3, 4)));
void log_vwrite(struct log *log, int priority, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));

#define log_err(log, ...)     log_write(log, LOG_ERR, __VA_ARGS__)
#define log_warning(log, ...) log_write(log, LOG_WARNING, __VA_ARGS__)
#define log_notice(log, ...)  log_write(log, LOG_NOTICE, __VA_ARGS__)
#define log_info(log, ...)    log_write(log, LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...)   log_write(log, LOG_DEBUG, __VA_ARGS__)

void log_limited(struct log *log, struct log_limit *limit, int priority, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * An event that an operator should know, with its fields where journald takes them, else a line like any other.
 * limit may be NULL.
 */
void log_event(struct log *log, struct log_limit *limit, int priority, const struct journal_event *event,
	       const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Says how many lines were suppressed and not yet told of: before the limit's memory goes away. */
void log_limit_flush(struct log *log, struct log_limit *limit, int priority);

/* The limit's decision at a time in 1/10 s: may a line be written? Sets how many went unwritten before it. */
bool log_limit_take(struct log_limit *limit, uint32_t now, uint32_t *suppressed);

/*
 * Writes text with every control character, backslash and malformed UTF-8 byte as a C escape, as much of it
 * as fits whole; not terminated. Returns the bytes written; *used says how much of the text they stand for.
 */
size_t log_escape(char *out, size_t size, const char *text, size_t length, size_t *used);

#endif
