/* SPDX-License-Identifier: MIT */
/*
 * Sends each cycle of the heaps as a trace, by OTLP over HTTP.
 */
#ifndef HEAPD_BPF_TRACING_H
#define HEAPD_BPF_TRACING_H

#include <event2/event.h>

#include "heaps.h"

struct tracing;

/* Collections of which a trace was received, or never will be; and requests that wait for an answer. */
struct tracing_counts {
	unsigned long long sent, lost;
	unsigned on_way;
};

/* NULL: the URL is none that can be sent to (http://HOST:PORT/PATH), or memory is short; said on standard error. */
struct tracing *tracing_start(struct event_base *base, const char *url, const struct heaps *heaps);
void tracing_stop(struct tracing *tracing);

/* Zeros where nothing is sent (NULL). */
struct tracing_counts tracing_counts(const struct tracing *tracing);

#endif
