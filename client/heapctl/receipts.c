/* SPDX-License-Identifier: MIT */
/*
 * receipts.c - owns the verb receipts: what the dead left, as the daemon counted it before it was given back.
 */
#include <inttypes.h>
#include <stdio.h>

#include "heapd/message.h"
#include "spans.h"
#include "table.h"
#include "verbs.h"

static const char *state_word(uint32_t state)
{
	static const char *const words[] = { "waiting", "counted", "at least", "not counted" };

	return state < sizeof(words) / sizeof(words[0]) ? words[state] : "unknown";
}

static void who_cells(struct table *t, struct heapd_receipt *r)
{
	r->client[sizeof(r->client) - 1] = 0;
	table_row(t);
	table_number(t, r->session);
	table_number(t, r->pid);
	table_number(t, r->uid);
	table_text(t, r->client);
}

static void receipt_row(const struct ctl *ctl, struct table *t, struct heapd_receipt *r)
{
	(void)ctl;
	who_cells(t, r);
	table_text(t, text_time(r->died).text);
	table_text(t, state_word(r->state));
	table_number(t, r->objects);
	table_number(t, r->bytes);
	table_number(t, r->cycle);
	table_number(t, r->took);
	table_number(t, r->freed_objects);
	table_number(t, r->freed_bytes);
}

/* The largest classes, and one row more for the rest. */
static void class_rows(const struct ctl *ctl, struct table *t, struct heapd_receipt *r)
{
	uint64_t objects = r->objects, bytes = r->bytes;

	for (uint32_t i = 0; i < r->nclasses && i < HEAPD_RECEIPT_CLASSES; i++) {
		who_cells(t, r);
		table_text(t, class_name(ctl, r->classes[i].class).text);
		table_number(t, r->classes[i].objects);
		table_number(t, r->classes[i].bytes);
		objects -= r->classes[i].objects;
		bytes -= r->classes[i].bytes;
	}
	if (!objects || r->nclasses < HEAPD_RECEIPT_CLASSES)
		return;
	who_cells(t, r);
	table_text(t, "(others)");
	table_number(t, objects);
	table_number(t, bytes);
}

/* found: how many there were, of that process or of all. */
static int rows(const struct ctl *ctl, struct table *t, uint64_t pid, uint64_t *found,
		void (*row)(const struct ctl *ctl, struct table *t, struct heapd_receipt *r))
{
	struct heapd_message m = { 0 };
	uint64_t last = 0;
	int r;

	for (;;) {
		m.op = HEAPD_OP_RECEIPT;
		r = request_call(ctl->heap, &m, NULL, NULL);
		if (r < 0)
			return ctl_failed(r);
		if (!m.receipt.number)
			return CTL_OK;
		if (m.receipt.number <= last)
			return ctl_say(CTL_TROUBLE, "the daemon's list of receipts goes backwards");
		last = m.receipt.number;
		if (pid && m.receipt.pid != pid)
			continue;
		row(ctl, t, &m.receipt);
		(*found)++;
	}
}

static int tell_none(const struct ctl *ctl, uint64_t pid)
{
	return ctl_say(
		CTL_FOUND,
		"heap '%s' has no receipt of process %" PRIu64
		": it is alive, detached, is another user's or died before the last 64 that it lists; see heapctl "
		"receipts, and the daemon's log",
		ctl->heap->name, pid);
}

int verb_receipts(struct ctl *ctl)
{
	static const struct table_column all[] = {
		{ "SESSION", TABLE_COUNT }, { "PID", TABLE_COUNT },   { "UID", TABLE_COUNT },
		{ "NAME", TABLE_TEXT },     { "DIED", TABLE_TEXT },   { "STATE", TABLE_TEXT },
		{ "OBJECTS", TABLE_COUNT }, { "BYTES", TABLE_BYTES }, { "CYCLE", TABLE_COUNT },
		{ "TOOK", TABLE_NS },       { "FREED", TABLE_COUNT }, { "FREED BYTES", TABLE_BYTES },
	};
	static const struct table_column classes[] = {
		{ "SESSION", TABLE_COUNT }, { "PID", TABLE_COUNT }, { "UID", TABLE_COUNT },
		{ "NAME", TABLE_TEXT },     { "TYPE", TABLE_TEXT }, { "OBJECTS", TABLE_COUNT },
		{ "BYTES", TABLE_BYTES },
	};
	struct table t;
	uint64_t pid = 0, found = 0;
	int status;

	if (ctl->nargs && (!ctl_number(ctl->args[0], &pid) || !pid))
		return ctl_say(CTL_USAGE, "usage: heapctl receipts [PID]");
	status = pid ? TABLE_BEGIN(&t, ctl, "receipts", classes) : TABLE_BEGIN(&t, ctl, "receipts", all);
	if (status != CTL_OK)
		return status;
	status = table_end(&t, rows(ctl, &t, pid, &found, pid ? class_rows : receipt_row));
	return status == CTL_OK && pid && !found ? tell_none(ctl, pid) : status;
}
