/* SPDX-License-Identifier: MIT */
/*
 * journal.h - log entries with fields, in journald's own protocol.
 *
 * What a line of text cannot carry: the number by which the catalog explains an event (catalog/heapd.catalog),
 * and the heap and process that it is about, so that "journalctl HEAPD_PID=4711" finds them.
 */
#ifndef HEAPD_DAEMON_JOURNAL_H
#define HEAPD_DAEMON_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

/* Each has its entry in catalog/heapd.catalog; never changed, never used again for anything else. */
#define EVENT_CLIENT_DIED    "e51e4d375d364599bdacb6e0a8c0ed3e"
#define EVENT_CLIENT_STALLED "a4b086dd2fd24c05841e4b0d804b6246"
#define EVENT_LIMIT_REACHED  "d06b73ad316a4297a22cdaa35a02f8c2"
#define EVENT_DOUBLE_FREE    "b51ca87ce42e4f20b0f7b91d4f66517f"
#define EVENT_FREED_EARLY    "367e45701eeb447688ffc949e45ba18c"
#define EVENT_CORRUPTION     "c01e96c8188f491cb9251123b668bef8"
#define EVENT_HEAP_ADOPTED   "94ad881bb41f4468b221dc085c0626d3"
#define EVENT_OVERWRITTEN    "f60b7a3c1d9e4c28a54e0b8d7c21e693"
#define EVENT_MEMORY_LOST    "0d5b2f6e8c3a47f19b7e6a1c54d8f302"
#define EVENT_CLIENT_RECEIPT "61719001ae6a4764915e3cdb3021cb21"

/* What an event is about. Fields that are 0 or NULL are left out, but for a user and a count. heapd(8) says which has which. */
struct journal_event {
	const char *id;   /* one of the above */
	const char *heap; /* HEAPD_HEAP= */
	pid_t pid;        /* HEAPD_PID= */
	bool has_uid;     /* whether the user is known */
	uid_t uid;        /* HEAPD_UID= */
	uint64_t session; /* HEAPD_SESSION= */
	uint64_t address; /* HEAPD_ADDRESS= */
	bool has_count;   /* whether this is one of those that count; 0 is a number, too */
	uint64_t count;   /* HEAPD_COUNT= */
};

/* A descriptor for journal_send(), or -errno: there is no journald. */
int journal_open(const char *path);

/* Never waits. The text is one line, without a newline. */
bool journal_send(int fd, int priority, const struct journal_event *event, const char *text, size_t length);

#endif
