/* SPDX-License-Identifier: MIT */
/*
 * users.c - owns the verb users: what each user has of the heap, and may have, as the daemon counts it when it is asked.
 */
#include "heapd/message.h"
#include "table.h"
#include "verbs.h"

static void row(struct table *t, const struct heapd_user *u)
{
	table_row(t);
	if (u->full)
		table_color(t, "red");
	table_number(t, u->uid);
	table_number(t, u->sessions);
	table_number(t, u->readers);
	table_number(t, u->bytes);
	table_number(t, u->share);
	table_number(t, u->most);
	table_number(t, u->full);
	table_number(t, u->waits);
	table_number(t, u->session_bytes);
}

static int rows(struct table *t, const struct ctl *ctl)
{
	struct heapd_message m = { 0 };
	uint64_t from;
	int r;

	for (;;) {
		from = m.user.next;
		m.op = HEAPD_OP_USER;
		r = request_call(ctl->heap, &m, NULL, NULL);
		if (r < 0)
			return ctl_failed(r);
		if (!m.user.next)
			return CTL_OK;
		if (m.user.next <= from)
			return ctl_say(CTL_TROUBLE, "the daemon's list of users goes backwards");
		row(t, &m.user);
	}
}

int verb_users(struct ctl *ctl)
{
	static const struct table_column columns[] = {
		{ "UID", TABLE_COUNT },   { "CLIENTS", TABLE_COUNT }, { "READERS", TABLE_COUNT },
		{ "BYTES", TABLE_BYTES }, { "SHARE", TABLE_BYTES },   { "MOST", TABLE_BYTES },
		{ "FULL", TABLE_BOOL },   { "WAITS", TABLE_BOOL },    { "IN DAEMON", TABLE_BYTES },
	};
	struct table t;
	int status = TABLE_BEGIN(&t, ctl, "users", columns);

	return status == CTL_OK ? table_end(&t, rows(&t, ctl)) : status;
}
