/* SPDX-License-Identifier: MIT */
/*
 * Reports: what a program should hear that is no failure of its own call alone. They run on the
 * program's thread, inside the call that found it, never on the agent's: so what the agent sees first
 * waits in a box for a call of the program's: for the next that fails because of it, or for the next
 * safepoint.
 *
 * A box is filled by the agent alone while it is empty, and emptied by the one thread that took it.
 */
#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "reconnect.h"

enum { BOX_EMPTY, BOX_FULL, BOX_TAKEN };

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

	if (!reconnect_is_overdue(heap) || atomic_exchange(&heap->away_reported, 1))
		return;
	snprintf(text, sizeof(text), "the daemon of heap '%s' has gone; what it had supplied goes on working",
		 heap->name);
	report_send(heap, HEAPD_REPORT_DAEMON_AWAY, text);
}

bool report_leave(struct heapd_heap *heap, int kind, const char *fmt, ...)
{
	struct report_box *box = heap->reports;
	va_list args;

	while (box < heap->reports + REPORT_BOXES && atomic_load(&box->state) != BOX_EMPTY)
		box++;
	if (box == heap->reports + REPORT_BOXES)
		return false;
	va_start(args, fmt);
	vsnprintf(box->text, sizeof(box->text), fmt, args);
	va_end(args);
	box->kind = kind;
	atomic_store(&box->state, BOX_FULL);
	atomic_fetch_add(&heap->reports_waiting, 1);
	return true;
}

/* The box is empty again before the program hears of it, which may take its time. */
static void box_send(struct heapd_heap *heap, struct report_box *box)
{
	char text[sizeof(box->text)];
	uint32_t full = BOX_FULL;
	int kind;

	if (!atomic_compare_exchange_strong(&box->state, &full, BOX_TAKEN))
		return;
	kind = box->kind;
	memcpy(text, box->text, sizeof(text));
	atomic_fetch_sub(&heap->reports_waiting, 1);
	atomic_store(&box->state, BOX_EMPTY);
	report_send(heap, kind, text);
}

void report_left_send(struct heapd_heap *heap)
{
	for (unsigned i = 0; i < REPORT_BOXES; i++)
		box_send(heap, &heap->reports[i]);
}
