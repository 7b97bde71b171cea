/* SPDX-License-Identifier: MIT */
/*
 * state.c - owns the verbs that show what the daemon has: status, list, roots.
 *
 * Figures stand in the directory, each read once, and trouble nobody; only who is attached has to be asked for.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heapd/message.h"
#include "table.h"
#include "verbs.h"

#define GET(word) HEAPD_READ_ONCE(ctl_directory(ctl)->stats.word)

static const char *const phase_words[] = { "idle", "barrier", "scan", "mark", "sweep" };

static const char *phase_word(uint64_t now)
{
	unsigned phase = heapd_now_phase(now);

	return phase < sizeof(phase_words) / sizeof(phase_words[0]) ? phase_words[phase] : "unknown";
}

static const struct table_column status_columns[] = {
	{ "HEAP", TABLE_TEXT },           { "SIZE", TABLE_BYTES },          { "LIMIT", TABLE_BYTES },
	{ "COMMITTED", TABLE_BYTES },     { "HUGE PAGES", TABLE_BYTES },    { "OVERHEAD", TABLE_BYTES },
	{ "IN SPANS", TABLE_BYTES },      { "OUT", TABLE_BYTES },           { "IN RINGS", TABLE_BYTES },
	{ "STRANDED", TABLE_BYTES },      { "LARGE", TABLE_BYTES },         { "LIVE", TABLE_BYTES },
	{ "LIVE OBJECTS", TABLE_COUNT },  { "GOAL", TABLE_BYTES },          { "RETURNED", TABLE_BYTES },
	{ "COLLECTING", TABLE_BOOL },     { "PHASE", TABLE_TEXT },          { "CYCLES", TABLE_COUNT },
	{ "VOID CYCLES", TABLE_COUNT },   { "LONGEST PAUSE", TABLE_NS },    { "GC CPU", TABLE_NS },
	{ "CLIENTS", TABLE_COUNT },       { "CLIENTS EVER", TABLE_COUNT },  { "DEATHS", TABLE_COUNT },
	{ "STALLS", TABLE_COUNT },        { "WAITS FOR", TABLE_COUNT },     { "REFUSALS", TABLE_COUNT },
	{ "DOUBLE FREES", TABLE_COUNT },  { "BAD FREES", TABLE_COUNT },     { "EARLY FREES", TABLE_COUNT },
	{ "FOREIGN WORDS", TABLE_COUNT }, { "CORRUPT WORDS", TABLE_COUNT }, { "OVERWRITTEN", TABLE_COUNT },
	{ "LOST", TABLE_BYTES },
};

int verb_status(struct ctl *ctl)
{
	const struct heapd_directory *d = ctl_directory(ctl);
	uint64_t now = HEAPD_READ_ONCE(d->cycle.now);
	const uint64_t memory[] = { ctl->heap->t.size,
				    GET(limit),
				    GET(committed),
				    GET(committed_huge),
				    GET(overhead),
				    GET(in_spans),
				    GET(out),
				    GET(in_rings),
				    GET(stranded),
				    GET(large),
				    GET(gc_live),
				    GET(gc_live_objects),
				    GET(gc_goal),
				    GET(returned),
				    HEAPD_READ_ONCE(d->cycle.collecting) };
	/* This attachment is not counted: it ends with the answer. */
	uint64_t sessions = GET(sessions) ? GET(sessions) - 1 : 0;
	const uint64_t rest[] = { HEAPD_READ_ONCE(d->cycle.finished),
				  GET(gc_voids),
				  GET(gc_pause_max),
				  GET(gc_cpu_ns),
				  sessions,
				  GET(sessions_ever),
				  GET(deaths),
				  GET(gc_stalls),
				  HEAPD_READ_ONCE(d->cycle.waits_for),
				  GET(refusals),
				  GET(double_frees) + GET(client_double_frees),
				  GET(client_bad_frees),
				  GET(gc_early_frees),
				  GET(gc_foreign),
				  GET(corrupt),
				  GET(overwrites) + GET(client_overwrites),
				  GET(lost) };
	struct table t;
	int status = TABLE_BEGIN(&t, ctl, "status", status_columns);

	if (status != CTL_OK)
		return status;
	table_row(&t);
	table_text(&t, ctl->heap->name);
	for (size_t i = 0; i < sizeof(memory) / sizeof(memory[0]); i++)
		table_number(&t, memory[i]);
	table_text(&t, phase_word(now));
	for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
		table_number(&t, rest[i]);
	return table_print_record(&t);
}

int verb_list(struct ctl *ctl)
{
	static const struct table_column columns[] = { { "HEAP", TABLE_TEXT } };
	struct heapd_message m = { 0 };
	uint32_t next = 0;
	struct table t;
	int status = TABLE_BEGIN(&t, ctl, "heaps", columns);

	do {
		m.op = HEAPD_OP_HEAPS;
		if (status == CTL_OK)
			status = ctl_ask(ctl, &m);
		if (status == CTL_OK && m.heaps.next && m.heaps.next <= next)
			status = ctl_say(CTL_TROUBLE, "the daemon's list of heaps goes backwards");
		next = m.heaps.next;
		if (status != CTL_OK) {
			table_free(&t);
			return status;
		}
		for (uint32_t i = 0; i < m.heaps.count && i < HEAPD_HEAPS_PAGE; i++) {
			m.heaps.names[i][HEAPD_NAME_MAX - 1] = 0;
			table_row(&t);
			table_text(&t, m.heaps.names[i]);
		}
	} while (m.heaps.next);
	return table_print(&t);
}

static const char *type_name(const struct ctl *ctl, uint32_t type, char name[HEAPD_NAME_MAX])
{
	if (type >= HEAPD_TYPE_MAX)
		return "?";
	memcpy(name, ctl->heap->t.types[type].name, HEAPD_NAME_MAX);
	name[HEAPD_NAME_MAX - 1] = 0;
	return name[0] ? name : "?";
}

int verb_roots(struct ctl *ctl)
{
	static const struct table_column columns[] = { { "ROOT", TABLE_TEXT },
						       { "TYPE", TABLE_TEXT },
						       { "OBJECT", TABLE_TEXT },
						       { "CHANGES", TABLE_COUNT } };
	uint32_t n = HEAPD_LOAD_ACQUIRE(&ctl_directory(ctl)->nroots);
	char name[HEAPD_NAME_MAX], object[32];
	struct table t;
	int status = TABLE_BEGIN(&t, ctl, "roots", columns);

	for (uint32_t i = 0; status == CTL_OK && i < n && i < HEAPD_ROOT_MAX; i++) {
		const struct heapd_root_record *root = &ctl->heap->t.roots[i];

		if (HEAPD_LOAD_ACQUIRE(&root->state) != 1)
			continue;
		memcpy(name, root->name, sizeof(name));
		name[sizeof(name) - 1] = 0;
		table_row(&t);
		table_text(&t, name);
		table_text(&t, type_name(ctl, HEAPD_READ_ONCE(root->type), name));
		snprintf(object, sizeof(object), "0x%" PRIx64, HEAPD_READ_ONCE(root->object));
		table_text(&t, object);
		table_number(&t, HEAPD_READ_ONCE(root->version));
	}
	return status == CTL_OK ? table_print(&t) : status;
}
