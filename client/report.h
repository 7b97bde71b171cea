/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_REPORT_H
#define HEAPD_CLIENT_REPORT_H

#include "client.h"

/* Hands a HEAPD_REPORT_* with its sentence to the program, on this thread of its own. errno is kept. */
hidden void report_send(struct heapd_heap *heap, int kind, const char *text);

/* Reports, once, that the daemon has gone, and not come back for a while: called where a call fails for it. */
hidden void report_away(struct heapd_heap *heap);

/* The agent's: leaves a report for the next thread that passes a safepoint. False: there is no room. */
hidden bool report_leave(struct heapd_heap *heap, int kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* At a safepoint of a thread of the program's: sends what was left. */
hidden void report_left_send(struct heapd_heap *heap);

#endif
