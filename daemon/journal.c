/* SPDX-License-Identifier: MIT */
/*
 * journal.c - owns the form of an entry with fields.
 *
 * Right because an entry is one datagram, put together on the caller's stack: entries of threads never mix. A
 * value ends with its line; the text has been escaped by the caller, a heap's name has no control characters,
 * and everything else is a number, so no client can write a field of its own.
 */
#include "journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#define FIELDS_MAX 512 /* of all fields but the text: each is a name, and a number or a heap's name */
#define TEXT_MAX   2048

int journal_open(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

static size_t put_number(char *out, const char *key, const char *format, uint64_t value)
{
	char text[24];

	if (!value)
		return 0;
	snprintf(text, sizeof(text), format, value);
	return (size_t)sprintf(out, "%s=%s\n", key, text);
}

static size_t put_fields(char out[FIELDS_MAX], int priority, const struct journal_event *event)
{
	size_t n = (size_t)sprintf(out, "PRIORITY=%d\nSYSLOG_IDENTIFIER=heapd\nMESSAGE_ID=%.32s\n",
				   LOG_PRI(priority), event->id);

	if (event->heap)
		n += (size_t)sprintf(out + n, "HEAPD_HEAP=%.64s\n", event->heap);
	if (event->pid > 0)
		n += (size_t)sprintf(out + n, "HEAPD_PID=%d\n", event->pid);
	if (event->has_uid)
		n += (size_t)sprintf(out + n, "HEAPD_UID=%u\n", event->uid);
	n += put_number(out + n, "HEAPD_SESSION", "%" PRIu64, event->session);
	n += put_number(out + n, "HEAPD_ADDRESS", "0x%" PRIx64, event->address);
	if (event->has_count)
		n += (size_t)sprintf(out + n, "HEAPD_COUNT=%" PRIu64 "\n", event->count);
	return n;
}

bool journal_send(int fd, int priority, const struct journal_event *event, const char *text, size_t length)
{
	char entry[FIELDS_MAX + TEXT_MAX + sizeof("MESSAGE=\n")];
	size_t n = put_fields(entry, priority, event);
	ssize_t sent;

	if (length > TEXT_MAX)
		length = TEXT_MAX;
	n += (size_t)sprintf(entry + n, "MESSAGE=%.*s\n", (int)length, text);
	do
		sent = send(fd, entry, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)n;
}
