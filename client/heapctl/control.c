/* SPDX-License-Identifier: MIT */
/*
 * control.c - owns the verbs that ask the daemon to do something: config and verify.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "progress.h"
#include "table.h"
#include "verbs.h"

#define VALUE_MAX 128

static const char *const keys[] = {
	"heap.name",         "heap.size",  "heap.base",   "memory.limit",     "memory.soft_limit",
	"memory.committed",  "gc.percent", "gc.interval", "gc.stall_timeout", "gc.stall_action",
	"gc.threads",        "free.mode",  "debug",       "sample.bytes",     "sessions.count",
	"build.fingerprint",
};

/* That there is no such setting is not that there is no such heap. */
static int setting_failed(int r)
{
	return r == -ENOENT ? ctl_say(CTL_USAGE, "%s", heapd_error()) : ctl_failed(r);
}

static int setting_set(struct ctl *ctl, const char *text, const char *equals)
{
	char key[64];
	int r;

	if ((size_t)(equals - text) >= sizeof(key))
		return ctl_say(CTL_USAGE, "there is no setting '%s'", text);
	snprintf(key, sizeof(key), "%.*s", (int)(equals - text), text);
	r = heapd_set(ctl->heap, key, equals + 1);
	return r < 0 ? setting_failed(r) : CTL_OK;
}

static int setting_show(struct ctl *ctl, struct table *t, const char *key, bool listed)
{
	char value[VALUE_MAX];
	int r = heapd_get(ctl->heap, key, value, sizeof(value));

	/* A daemon need not have all that this heapctl has heard of. */
	if (r == -ENOENT && listed)
		return CTL_OK;
	if (r < 0)
		return setting_failed(r);
	table_row(t);
	table_text(t, key);
	table_text(t, value);
	return CTL_OK;
}

static int settings_show(struct ctl *ctl, struct table *t, unsigned *shown)
{
	int status = CTL_OK;

	for (int i = 0; i < ctl->nargs && status == CTL_OK; i++) {
		const char *equals = strchr(ctl->args[i], '=');

		if (equals)
			status = setting_set(ctl, ctl->args[i], equals);
		else if (++*shown)
			status = setting_show(ctl, t, ctl->args[i], false);
	}
	for (size_t i = 0; !ctl->nargs && status == CTL_OK && i < sizeof(keys) / sizeof(keys[0]);
	     i++, ++*shown)
		status = setting_show(ctl, t, keys[i], true);
	return status;
}

/* "config get NAME" and "config set NAME VALUE" are understood, too. */
static int words_read(struct ctl *ctl, char *joined, size_t size, char **args)
{
	bool set = ctl->nargs && strcmp(ctl->args[0], "set") == 0;

	if (!set && !(ctl->nargs && strcmp(ctl->args[0], "get") == 0))
		return CTL_OK;
	ctl->args++;
	ctl->nargs--;
	if (!set)
		return CTL_OK;
	if (ctl->nargs != 2)
		return ctl_say(CTL_USAGE, "usage: heapctl config set NAME VALUE");
	snprintf(joined, size, "%s=%s", ctl->args[0], ctl->args[1]);
	args[0] = joined;
	ctl->args = args;
	ctl->nargs = 1;
	return CTL_OK;
}

int verb_config(struct ctl *ctl)
{
	static const struct table_column columns[] = { { "NAME", TABLE_TEXT }, { "VALUE", TABLE_TEXT } };
	char joined[256], *args[1];
	unsigned shown = 0;
	struct table t = { .scols = NULL };
	int status = words_read(ctl, joined, sizeof(joined), args);

	if (status == CTL_OK)
		status = TABLE_BEGIN(&t, ctl, "settings", columns);
	if (status == CTL_OK)
		status = settings_show(ctl, &t, &shown);
	if (status == CTL_OK && shown)
		return table_print(&t);
	table_free(&t);
	return status;
}

static void advise(const struct heapd_verify_result *result)
{
	printf("Faults: %" PRIu64 ". The first: %s\n"
	       "The daemon's own account of this heap is wrong, or its memory was written over. Objects may be given out\n"
	       "twice: end the clients of this heap, keep heapd's log and the output of \"heapctl spans\", and restart it.\n",
	       result->faults, result->first);
}

int verb_verify(struct ctl *ctl)
{
	static const struct table_column columns[] = {
		{ "FAULTS", TABLE_COUNT },        { "PAGES", TABLE_COUNT },
		{ "SPANS", TABLE_COUNT },         { "SLABS", TABLE_COUNT },
		{ "OUT", TABLE_BYTES },           { "IN RINGS", TABLE_BYTES },
		{ "IN CURRENTS", TABLE_BYTES },   { "IN SPARES", TABLE_BYTES },
		{ "FREED PENDING", TABLE_BYTES }, { "ALLOCATED", TABLE_BYTES },
		{ "FIRST", TABLE_TEXT },
	};
	struct heapd_verify_result v = { .size = sizeof(v) };
	struct progress progress;
	struct table t;
	int r, status;

	progress_watch(&progress, "objects verified", &ctl_directory(ctl)->stats.walked,
		       &ctl_directory(ctl)->stats.gc_live_objects);
	r = heapd_verify(ctl->heap, &v);
	progress_end(&progress);
	if (r < 0)
		return ctl_failed(r);
	status = TABLE_BEGIN(&t, ctl, "verify", columns);
	if (status != CTL_OK)
		return status;
	const uint64_t n[] = { v.faults,   v.pages,       v.spans,     v.slabs,         v.out,
			       v.in_rings, v.in_currents, v.in_spares, v.freed_pending, v.allocated };
	table_row(&t);
	for (size_t i = 0; i < sizeof(n) / sizeof(n[0]); i++)
		table_number(&t, n[i]);
	table_text(&t, v.first[0] ? v.first : "clean");
	status = table_print_record(&t);
	if (v.faults && ctl->json == CTL_JSON_OFF)
		advise(&v);
	return status == CTL_OK && v.faults ? CTL_FOUND : status;
}
