/* SPDX-License-Identifier: MIT */
/*
 * Reports: what a program should hear that is no failure of its own call alone. They run on the
 * program's thread, inside the call that found it, never on the agent's: so what the agent sees first
 * waits for the next call that it makes fail.
 */
#include "report.h"

#include <errno.h>
#include <stdio.h>

void report_send(struct heapd_heap *heap, int kind, const char *text)
{
	int error = errno;

	if (heap->report)
		heap->report(heap->report_arg, kind, text);
	else
		fprintf(stderr, "heapd: %s\n", text);
	errno = error;
}

void report_away(struct heapd_heap *heap)
{
	char text[160];

	if (atomic_exchange(&heap->away_reported, 1))
		return;
	snprintf(text, sizeof(text), "the daemon of heap '%s' has gone; what it had supplied goes on working",
		 heap->name);
	report_send(heap, HEAPD_REPORT_DAEMON_AWAY, text);
}
