/* SPDX-License-Identifier: MIT */
/*
 * log.c - owns the form of a log line and the decision whether it is written.
 *
 * Right because nothing is shared but three atomic words: the level, the count of lost lines and each limit's
 * state. None of them orders any other memory, so all accesses are relaxed. A line is escaped as a whole,
 * after formatting, so that no text of a client, however it came into the message, can start a line of its
 * own, move a cursor or pretend to be a priority prefix.
 */
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CUT_MARK "[...]"
#define BODY_MAX (LOG_LINE_MAX - sizeof(CUT_MARK)) /* room for the mark and the newline */

static const char *level_name(int priority)
{
	static const char *const names[] = { "emerg",   "alert",  "crit", "err",
					     "warning", "notice", "info", "debug" };

	return names[LOG_PRI(priority)];
}

/* JOURNAL_STREAM names the socket that systemd connected; children inherit it, whatever their stderr is. */
bool log_is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;
	char extra;

	if (!stream || sscanf(stream, "%ju:%ju%c", &device, &inode, &extra) != 2)
		return false;
	return fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_init(struct log *log, int fd, enum log_target target, int level)
{
	struct stat st;

	*log = (struct log){
		.fd = fd,
		.prefixed = target == LOG_TARGET_JOURNAL || (target == LOG_TARGET_AUTO && log_is_journal(fd)),
		.is_socket = fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode),
		.journal = log_is_journal(fd) && target != LOG_TARGET_CONSOLE ? journal_open(JOURNAL_SOCKET)
									      : -1,
	};
	log_set_level(log, level);
	tzset();
}

void log_set_level(struct log *log, int level)
{
	atomic_store_explicit(&log->level, level, memory_order_relaxed);
}

/* Cuts a sequence's length and code point out of its first byte; 0 if it cannot be a first byte. */
static size_t utf8_first(unsigned char byte, uint32_t *code)
{
	if (byte >= 0xc2 && byte <= 0xdf) {
		*code = byte & 0x1f;
		return 2;
	}
	if (byte >= 0xe0 && byte <= 0xef) {
		*code = byte & 0x0f;
		return 3;
	}
	if (byte >= 0xf0 && byte <= 0xf4) {
		*code = byte & 0x07;
		return 4;
	}
	return 0;
}

/* C1 controls, surrogates, and what breaks lines or reverses the direction of the text after it. */
static bool code_is_plain(uint32_t code, size_t length)
{
	static const uint32_t least[] = { 0, 0, 0xa0, 0x800, 0x10000 };

	if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return false;
	return !(code >= 0x2028 && code <= 0x202e) && !(code >= 0x2066 && code <= 0x2069);
}

/* How many bytes at the text's start may be shown as they are: 0 or one character's. */
static size_t plain_length(const char *text, size_t length)
{
	unsigned char first = (unsigned char)text[0];
	uint32_t code;
	size_t n;

	if (first < 0x80)
		return first >= 0x20 && first != 0x7f && first != '\\';
	n = utf8_first(first, &code);
	if (n == 0 || n > length)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | ((unsigned char)text[i] & 0x3f);
	}
	return code_is_plain(code, n) ? n : 0;
}

static size_t escape_byte(char out[5], char byte)
{
	static const char hex[] = "0123456789abcdef";
	static const char controls[] = "\a\b\t\n\v\f\r\\";
	static const char letters[] = "abtnvfr\\";
	const char *control = byte ? strchr(controls, byte) : NULL;
	unsigned char value = (unsigned char)byte;

	out[0] = '\\';
	if (control) {
		out[1] = letters[control - controls];
		return 2;
	}
	out[1] = 'x';
	out[2] = hex[value >> 4];
	out[3] = hex[value & 15];
	return 4;
}

size_t log_escape(char *out, size_t size, const char *text, size_t length, size_t *used)
{
	size_t done = 0, written = 0;

	while (done < length) {
		size_t plain = plain_length(text + done, length - done), n = plain;
		const char *piece = text + done;
		char escape[5];

		if (!plain) {
			n = escape_byte(escape, text[done]);
			piece = escape;
		}
		if (n > size - written)
			break;
		memcpy(out + written, piece, n);
		written += n;
		done += plain ? plain : 1;
	}
	*used = done;
	return written;
}

/* Local time: localtime_r() reads no file any more after log_init(). */
static size_t put_prefix(const struct log *log, int priority, char *line)
{
	struct timespec now;
	struct tm tm;
	size_t n;
	int more;

	if (log->prefixed)
		return (size_t)snprintf(line, BODY_MAX, "<%d>", LOG_PRI(priority));
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	n = strftime(line, BODY_MAX, "%Y-%m-%d %H:%M:%S", &tm);
	more = snprintf(line + n, BODY_MAX - n, ".%03ld %s: ", now.tv_nsec / 1000000, level_name(priority));
	return n + (size_t)more;
}

static size_t put_line(const struct log *log, int priority, char *line, const char *text, size_t length,
		       bool cut)
{
	size_t n = put_prefix(log, priority, line), used;

	n += log_escape(line + n, BODY_MAX - n, text, length, &used);
	if (cut || used < length) {
		memcpy(line + n, CUT_MARK, strlen(CUT_MARK));
		n += strlen(CUT_MARK);
	}
	line[n++] = '\n';
	return n;
}

/* A line that went out in part counts as lost: its reader should know that something is missing. */
static bool emit_line(const struct log *log, const char *line, size_t length)
{
	ssize_t n;

	do {
		if (log->is_socket)
			n = send(log->fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			n = write(log->fd, line, length);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)length;
}

static void emit_text(struct log *log, int priority, const char *text, size_t length, bool cut)
{
	char line[LOG_LINE_MAX];
	size_t n = put_line(log, priority, line, text, length, cut);

	if (!emit_line(log, line, n))
		atomic_fetch_add_explicit(&log->lost, 1, memory_order_relaxed);
}

/* Before the next line, so that the gap is told of where it is. */
static void emit_lost(struct log *log)
{
	uint32_t lost = atomic_exchange_explicit(&log->lost, 0, memory_order_relaxed);
	char text[64], line[LOG_LINE_MAX];
	size_t n;

	if (!lost)
		return;
	n = (size_t)snprintf(text, sizeof(text), "%" PRIu32 " log lines before this one were lost", lost);
	n = put_line(log, LOG_WARNING, line, text, n, false);
	if (!emit_line(log, line, n))
		atomic_fetch_add_explicit(&log->lost, lost, memory_order_relaxed);
}

static bool level_passes(const struct log *log, int priority)
{
	return LOG_PRI(priority) <= atomic_load_explicit(&log->level, memory_order_relaxed);
}

/* Where journald takes no entries with fields just now, the line at least. */
static void emit_message(struct log *log, int priority, const struct journal_event *event, const char *text,
			 size_t length, bool cut)
{
	char line[LOG_LINE_MAX];
	size_t used, n;

	if (event && log->journal >= 0) {
		n = log_escape(line, sizeof(line), text, length, &used);
		if (journal_send(log->journal, priority, event, line, n))
			return;
	}
	emit_text(log, priority, text, length, cut);
}

static void write_message(struct log *log, int priority, const struct journal_event *event,
			  const char *format, va_list args) __attribute__((format(printf, 4, 0)));

static void write_message(struct log *log, int priority, const struct journal_event *event,
			  const char *format, va_list args)
{
	static const char broken[] = "(a message that could not be formatted)";
	char text[LOG_LINE_MAX];
	int saved = errno, n;

	if (!level_passes(log, priority))
		return;
	n = vsnprintf(text, sizeof(text), format, args);
	emit_lost(log);
	if (n < 0)
		emit_message(log, priority, event, broken, sizeof(broken) - 1, false);
	else if ((size_t)n < sizeof(text))
		emit_message(log, priority, event, text, (size_t)n, false);
	else
		emit_message(log, priority, event, text, sizeof(text) - 1, true);
	errno = saved;
}

void log_vwrite(struct log *log, int priority, const char *format, va_list args)
{
	write_message(log, priority, NULL, format, args);
}

void log_write(struct log *log, int priority, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_vwrite(log, priority, format, args);
	va_end(args);
}

/* A thread may have looked at the clock just before another began the window: that is inside, too. */
static bool window_holds(uint32_t begun, uint32_t now)
{
	const uint32_t window = LOG_LIMIT_WINDOW_SECONDS * 10;

	return now - begun + window < 2 * window;
}

static uint32_t burst_of(const struct log_limit *limit)
{
	return limit->burst ? limit->burst : LOG_LIMIT_BURST;
}

/* One word holds window and count, so threads that meet here neither lose a line nor let a sixth through. */
bool log_limit_take(struct log_limit *limit, uint32_t now, uint32_t *suppressed)
{
	uint64_t old = atomic_load_explicit(&limit->state, memory_order_relaxed), new;
	uint32_t missed, burst = burst_of(limit);
	bool pass;

	do {
		uint32_t begun = (uint32_t)(old >> 32), count = (uint32_t)old;

		if (!begun || !window_holds(begun, now)) {
			missed = count > burst ? count - burst : 0;
			new = (uint64_t)(now ? now : 1) << 32 | 1;
			pass = true;
		} else {
			missed = 0;
			new = count == UINT32_MAX ? old : old + 1;
			pass = count < burst;
		}
	} while (!atomic_compare_exchange_weak_explicit(&limit->state, &old, new, memory_order_relaxed,
							memory_order_relaxed));
	*suppressed = missed;
	return pass;
}

static uint32_t limit_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)((uint64_t)now.tv_sec * 10 + (uint64_t)now.tv_nsec / 100000000);
}

static void limit_tell(struct log *log, const struct log_limit *limit, int priority, uint32_t suppressed)
{
	if (suppressed)
		log_write(log, priority, "%s: %" PRIu32 " more lines were suppressed",
			  limit->what ? limit->what : "repeated messages", suppressed);
}

/* No limit lets everything through. */
static bool limit_passes(struct log *log, struct log_limit *limit, int priority)
{
	int saved = errno;
	uint32_t suppressed;

	if (!level_passes(log, priority))
		return false;
	if (!limit)
		return true;
	if (!log_limit_take(limit, limit_clock(), &suppressed))
		return false;
	limit_tell(log, limit, priority, suppressed);
	errno = saved;
	return true;
}

void log_limited(struct log *log, struct log_limit *limit, int priority, const char *format, ...)
{
	va_list args;

	if (!limit_passes(log, limit, priority))
		return;
	va_start(args, format);
	log_vwrite(log, priority, format, args);
	va_end(args);
}

void log_event(struct log *log, struct log_limit *limit, int priority, const struct journal_event *event,
	       const char *format, ...)
{
	va_list args;

	if (!limit_passes(log, limit, priority))
		return;
	va_start(args, format);
	write_message(log, priority, event, format, args);
	va_end(args);
}

void log_limit_flush(struct log *log, struct log_limit *limit, int priority)
{
	uint32_t count = (uint32_t)atomic_exchange_explicit(&limit->state, 0, memory_order_relaxed);

	limit_tell(log, limit, priority, count > burst_of(limit) ? count - burst_of(limit) : 0);
}
