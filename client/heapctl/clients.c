/* SPDX-License-Identifier: MIT */
/*
 * clients.c - owns the verb clients: who is attached, and what each keeps alive.
 *
 * What a client's roots keep alive is asked of the graph that a walk found (graph.h), only where it is wanted: what
 * its node dominates would go if it went, and is its alone; what it reaches besides others hold, too. The daemon and the
 * clients do nothing for it but the collection before the walk.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heapd/message.h"
#include "progress.h"
#include "table.h"
#include "tree.h"
#include "verbs.h"

/* By root of the graph: bytes. */
struct kept {
	uint64_t alone, reached;
};

struct walk {
	struct graph g;
	struct tree t;
	struct kept *kept; /* NULL: it was not asked for */
};

/* The field of /proc/PID/stat behind the name in parentheses, and that name. */
static void process_look(uint32_t pid, char command[64], char *state)
{
	char path[48], line[256], *name, *end;
	FILE *f;

	strcpy(command, "?");
	*state = '?';
	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(line, sizeof(line), f) && (name = strchr(line, '(')) && (end = strrchr(line, ')')) &&
	    end > name && end[1] == ' ') {
		*state = end[2];
		snprintf(command, 64, "%.*s", (int)(end - name - 1), name + 1);
	}
	fclose(f);
}

static const char *state_word(char state)
{
	switch (state) {
	case 'T':
	case 't':
		return "stopped";
	case 'Z':
	case 'X':
		return "dead";
	case 'D':
		return "disk";
	case 'R':
		return "running";
	case '?':
		return "unknown";
	default:
		return "sleeping";
	}
}

static int kept_count(struct walk *w)
{
	const struct graph *g = &w->g;
	struct store store;
	uint32_t *seen = store_make(&store, (uint64_t)g->n * 8);
	struct progress progress;

	w->kept = calloc(g->nroots + 1u, sizeof(*w->kept));
	if (!seen || !w->kept) {
		store_free(&store);
		return ctl_say(CTL_TROUBLE, "no room to count what each client keeps alive");
	}
	progress_begin(&progress, "what each client reaches");
	for (uint32_t i = 0; i < g->nroots; i++) {
		if (!g->roots[i].session)
			continue;
		w->kept[i].alone = w->t.retained[w->t.number[1 + i]];
		w->kept[i].reached = tree_reached(g, 1 + i, seen, seen + g->n);
		progress_step(&progress, i + 1u, g->nroots);
	}
	progress_end(&progress);
	store_free(&store);
	return CTL_OK;
}

static int walk_load(struct walk *w, const struct ctl *ctl)
{
	int status = graph_load(&w->g, ctl);

	if (status != CTL_OK)
		return status;
	status = tree_walk(&w->t, &w->g);
	if (status == CTL_OK)
		status = tree_dominate(&w->t, &w->g);
	return status == CTL_OK ? kept_count(w) : status;
}

static void walk_free(struct walk *w)
{
	free(w->kept);
	tree_free(&w->t);
	graph_free(&w->g);
}

/* Of one that came after the walk nothing is known. */
static void kept_cells(struct table *t, const struct walk *w, uint64_t session)
{
	for (uint32_t i = 0; w->kept && i < w->g.nroots; i++) {
		if (w->g.roots[i].session != session)
			continue;
		table_number(t, w->kept[i].alone);
		table_number(t, w->kept[i].reached - w->kept[i].alone);
	}
}

static void client_row(struct table *t, struct heapd_session_info *s, const struct walk *w)
{
	char command[64], state;

	process_look(s->pid, command, &state);
	s->client[sizeof(s->client) - 1] = 0;
	table_row(t);
	if (state == 'T' || state == 't')
		table_color(t, "red");
	table_number(t, s->id);
	table_number(t, s->pid);
	table_number(t, s->uid);
	table_text(t, command);
	table_text(t, s->client);
	table_text(t, state_word(state));
	table_number(t, s->read_only);
	table_number(t, s->threads);
	table_number(t, s->offline);
	table_number(t, s->pins);
	table_number(t, s->ranges);
	table_number(t, s->pauses);
	table_number(t, s->pause_ns);
	table_number(t, s->pause_max_ns);
	table_number(t, s->wait_ns);
	kept_cells(t, w, s->id);
}

static int rows(struct table *t, const struct ctl *ctl, const struct walk *w)
{
	struct heapd_message m = { 0 };

	for (;;) {
		int status = ctl_session(ctl, &m);

		if (status != CTL_OK || !m.session.id)
			return status;
		if (m.session.id != ctl->heap->session_id)
			client_row(t, &m.session, w);
	}
}

int verb_clients(struct ctl *ctl)
{
	/* The last two are for who asked for them. */
	static const struct table_column columns[] = {
		{ "SESSION", TABLE_COUNT },  { "PID", TABLE_COUNT },     { "UID", TABLE_COUNT },
		{ "COMMAND", TABLE_TEXT },   { "NAME", TABLE_TEXT },     { "STATE", TABLE_TEXT },
		{ "READ ONLY", TABLE_BOOL }, { "THREADS", TABLE_COUNT }, { "OFFLINE", TABLE_COUNT },
		{ "PINS", TABLE_COUNT },     { "RANGES", TABLE_COUNT },  { "PAUSES", TABLE_COUNT },
		{ "PAUSED", TABLE_NS },      { "LONGEST", TABLE_NS },    { "WAITED", TABLE_NS },
		{ "ALONE", TABLE_BYTES },    { "SHARED", TABLE_BYTES },
	};
	const size_t n = sizeof(columns) / sizeof(columns[0]);
	struct walk w = { .kept = NULL };
	struct table t;
	int status = ctl->bytes ? walk_load(&w, ctl) : CTL_OK;

	if (status == CTL_OK)
		status = table_begin(&t, ctl, "clients", columns, ctl->bytes ? n : n - 2);
	if (status == CTL_OK)
		status = table_end(&t, rows(&t, ctl, &w));
	walk_free(&w);
	return status;
}
