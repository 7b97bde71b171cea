/* SPDX-License-Identifier: MIT */
/*
 * Tickets: an object on its way to another process as text. The daemon holds the object meanwhile, so
 * it does not matter whether the one who issued the ticket still lives when it is taken.
 */
#include <errno.h>
#include <string.h>

#include "heapd/message.h"
#include "thread.h"

_Static_assert(sizeof(((struct heapd_ticket *)0)->text) == HEAPD_TICKET_SIZE, "a ticket's text has one size");

int heapd_ticket_issue(heapd_heap *heap, const void *object, char *text, size_t size, unsigned seconds)
{
	struct heapd_message m = { .op = HEAPD_OP_TICKET_ISSUE };

	if (!thread_self(heap))
		return -errno;
	if (!text || size < HEAPD_TICKET_SIZE)
		return error_set(ENOSPC, "heapd_ticket_issue: a ticket does not fit: give room for %u bytes",
				 HEAPD_TICKET_SIZE);
	m.ticket.object = (uint64_t)(uintptr_t)object;
	m.ticket.seconds = seconds;
	int r = request_call(heap, &m, NULL, NULL);
	heapd_keep(object);
	if (r < 0)
		return r;
	m.ticket.text[HEAPD_TICKET_SIZE - 1] = 0;
	memcpy(text, m.ticket.text, HEAPD_TICKET_SIZE);
	return 0;
}

void *heapd_ticket_take(heapd_heap *heap, const char *text)
{
	struct heapd_message m = { .op = HEAPD_OP_TICKET_TAKE };

	if (!thread_self(heap))
		return NULL;
	if (!text || strnlen(text, HEAPD_TICKET_SIZE) >= HEAPD_TICKET_SIZE)
		return error_null(
			ENOENT,
			"heapd_ticket_take: that is the text of no ticket: give what heapd_ticket_issue() wrote");
	strncpy(m.ticket.text, text, sizeof(m.ticket.text) - 1);
	return request_call(heap, &m, NULL, NULL) < 0 ? NULL : (void *)(uintptr_t)m.ticket.object;
}
