/* SPDX-License-Identifier: MIT */
#ifndef HEAPD_CLIENT_REPORT_H
#define HEAPD_CLIENT_REPORT_H

#include "client.h"

/* Hands a HEAPD_REPORT_* with its sentence to the program, on this thread of its own. errno is kept. */
hidden void report_send(struct heapd_heap *heap, int kind, const char *text);

/* Reports, once in an attachment, that the daemon has gone: called where a call fails for it. */
hidden void report_away(struct heapd_heap *heap);

#endif
