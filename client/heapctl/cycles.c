/* SPDX-License-Identifier: MIT */
/*
 * cycles.c - owns the verbs gc, log and trace: collections that were, or that are asked for.
 *
 * The directory remembers the last ones; how a record is read, and what a trace looks like, cycletrace.c knows.
 */
#include "cycles.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/cycletrace.h"
#include "table.h"
#include "verbs.h"

const char *cycle_trigger(uint32_t trigger)
{
	static const char *const words[] = {
		"heap", "limit", "interval", "request", "death", "void", "stress"
	};

	return trigger < sizeof(words) / sizeof(words[0]) ? words[trigger] : "unknown";
}

bool cycle_read(const struct ctl *ctl, uint64_t n, struct heapd_cycle_record *record)
{
	return cycletrace_read(ctl_directory(ctl), n, record);
}

uint64_t cycles_first(const struct ctl *ctl, uint64_t *last)
{
	*last = heapd_now_cycle(HEAPD_READ_ONCE(ctl_directory(ctl)->cycle.now));
	return *last > HEAPD_CYCLES_KEPT ? *last - HEAPD_CYCLES_KEPT + 1 : 1;
}

static uint64_t cycle_ns(const struct heapd_cycle_record *r)
{
	return r->barrier + r->gather + r->scan + r->roots + r->mark + r->sweep;
}

static void cycle_row(struct table *t, const struct heapd_cycle_record *r)
{
	const uint64_t n[] = { cycle_ns(r),       r->barrier,  r->gather,        r->scan,   r->roots,
			       r->mark,           r->sweep,    r->cpu,           r->before, r->marked,
			       r->marked_objects, r->freed,    r->freed_objects, r->held,   r->pause_max,
			       r->threads,        r->sessions, r->passes,        r->stalls };

	table_row(t);
	if (r->is_void)
		table_color(t, "yellow");
	table_number(t, r->cycle);
	table_text(t, text_time(r->began).text);
	table_text(t, cycle_trigger(r->trigger));
	table_number(t, r->is_void != 0);
	for (size_t i = 0; i < sizeof(n) / sizeof(n[0]); i++)
		table_number(t, n[i]);
}

static bool is_wanted(const struct heapd_cycle_record *r, uint64_t which)
{
	return which == CYCLES_ALL || r->cycle == which;
}

int cycles_print(const struct ctl *ctl, const char *name, uint64_t which)
{
	static const struct table_column columns[] = {
		{ "CYCLE", TABLE_COUNT },
		{ "BEGAN", TABLE_TEXT },
		{ "TRIGGER", TABLE_TEXT },
		{ "VOID", TABLE_BOOL },
		{ "TIME", TABLE_NS },
		{ "BARRIER", TABLE_NS },
		{ "GATHER", TABLE_NS },
		{ "SCAN", TABLE_NS },
		{ "ROOTS", TABLE_NS },
		{ "MARK", TABLE_NS },
		{ "SWEEP", TABLE_NS },
		{ "CPU", TABLE_NS },
		{ "BEFORE", TABLE_BYTES },
		{ "LIVE", TABLE_BYTES },
		{ "LIVE OBJECTS", TABLE_COUNT },
		{ "FREED", TABLE_BYTES },
		{ "FREED OBJECTS", TABLE_COUNT },
		{ "HELD", TABLE_BYTES },
		{ "PAUSE", TABLE_NS },
		{ "THREADS", TABLE_COUNT },
		{ "CLIENTS", TABLE_COUNT },
		{ "PASSES", TABLE_COUNT },
		{ "STALLS", TABLE_COUNT },
	};
	struct heapd_cycle_record r;
	struct table t;
	uint64_t last, n = cycles_first(ctl, &last);
	int status = TABLE_BEGIN(&t, ctl, name, columns);

	for (; status == CTL_OK && n <= last; n++)
		if (cycle_read(ctl, n, &r) && is_wanted(&r, which))
			cycle_row(&t, &r);
	return status == CTL_OK ? table_print(&t) : status;
}

int verb_log(struct ctl *ctl)
{
	return cycles_print(ctl, "cycles", CYCLES_ALL);
}

/* The number of the last whole cycle, of those that are remembered; 0: there is none. */
static uint64_t last_whole(const struct ctl *ctl)
{
	struct heapd_cycle_record r;
	uint64_t last, first = cycles_first(ctl, &last);

	for (uint64_t n = last; n >= first && n; n--)
		if (cycle_read(ctl, n, &r) && !r.is_void)
			return n;
	return 0;
}

int verb_gc(struct ctl *ctl)
{
	int status = ctl_collect(ctl);

	return status != CTL_OK ? status : cycles_print(ctl, "cycles", last_whole(ctl));
}

int verb_trace(struct ctl *ctl)
{
	FILE *f = ctl->output ? fopen(ctl->output, "we") : stdout;

	if (!f)
		return ctl_say(CTL_TROUBLE, "%s: %s", ctl->output, strerror(errno));
	cycletrace_write_chrome(ctl_directory(ctl), ctl->heap->name, f);
	if ((f == stdout ? fflush(f) : fclose(f)) != 0)
		return ctl_say(CTL_TROUBLE, "cannot write the trace: %s", strerror(errno));
	return CTL_OK;
}
