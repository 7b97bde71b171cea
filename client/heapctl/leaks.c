/* SPDX-License-Identifier: MIT */
/*
 * leaks.c - owns the verb leaks: what has grown from collection to collection, by type, by root, or by the site that
 * allocated it.
 *
 * All three are lists of names with a number of bytes at each look. What is there at one look and not at the next has fallen
 * to nothing. By root: what each root reaches in the graph that a walk finds (graph.h); not what it alone keeps, since
 * whoever works on a list that grows has it on its stack as well. By site: the samples taken since the first look
 * whose objects live (samples.h).
 */
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "memory.h"
#include "progress.h"
#include "sampler.h"
#include "sites.h"
#include "table.h"
#include "tree.h"
#include "verbs.h"

#define SAMPLER_MS 200u /* between two looks that no time is to pass between */

struct growth {
	char *name, *type, *source; /* type and source: of sites */
	uint64_t first, last, bytes;
	unsigned rises, look; /* look: the last one that it was seen in */
};

struct leaks {
	struct ctl *ctl;
	uint64_t cycles, ms;
	void *tree;
	struct growth **list;
	size_t n;
	unsigned look; /* from 1 on */
	struct sampler *sampler;
};

static int compare_names(const void *a, const void *b)
{
	const struct growth *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : strcmp(x->type, y->type);
}

static void growth_free(struct growth *g)
{
	if (!g)
		return;
	free(g->name);
	free(g->type);
	free(g->source);
	free(g);
}

static struct growth *growth_add(struct leaks *l, const struct growth *key)
{
	struct growth **list = reallocarray(l->list, l->n + 1, sizeof(*list)), *g = calloc(1, sizeof(*g));

	if (list)
		l->list = list;
	if (g) {
		g->name = strdup(key->name);
		g->type = strdup(key->type);
		g->source = strdup(key->source);
	}
	if (!list || !g || !g->name || !g->type || !g->source || !tsearch(g, &l->tree, compare_names)) {
		growth_free(g);
		return NULL;
	}
	return l->list[l->n++] = g;
}

/* At this look it has so many bytes more. An exit status. */
static int growth_note(struct leaks *l, const char *name, const char *type, const char *source,
		       uint64_t bytes)
{
	const struct growth key = { .name = (char *)(uintptr_t)name,
				    .type = (char *)(uintptr_t)type,
				    .source = (char *)(uintptr_t)source };
	struct growth **found = tfind(&key, &l->tree, compare_names),
		      *g = found ? *found : growth_add(l, &key);

	if (!g)
		return ctl_say(CTL_TROUBLE, "out of memory");
	if (g->look != l->look)
		g->bytes = 0;
	g->look = l->look;
	g->bytes += bytes;
	return CTL_OK;
}

static void growths_compare(struct leaks *l)
{
	for (size_t i = 0; i < l->n; i++) {
		struct growth *g = l->list[i];
		uint64_t now = g->look == l->look ? g->bytes : 0;

		if (l->look == 1)
			g->first = now;
		else
			g->rises += now > g->last;
		g->last = now;
	}
}

static int look_types(struct leaks *l)
{
	struct usage *usages = malloc(HEAPD_CLASS_MAX * sizeof(*usages));
	int status = usages ? usage_load(l->ctl, true, usages) : ctl_say(CTL_TROUBLE, "out of memory");
	char name[HEAPD_NAME_MAX];

	for (uint32_t i = 0; status == CTL_OK && i < HEAPD_TYPE_MAX; i++) {
		if (!usages[i].used_bytes)
			continue;
		memcpy(name, l->ctl->heap->t.types[i].name, sizeof(name));
		name[sizeof(name) - 1] = 0;
		status = growth_note(l, name, "", "", usages[i].used_bytes);
	}
	free(usages);
	return status;
}

static int note_roots(struct leaks *l, const struct graph *g)
{
	struct store store;
	uint32_t *seen = store_make(&store, (uint64_t)g->n * 8);
	struct progress progress;
	int status = seen ? CTL_OK : ctl_say(CTL_TROUBLE, "no room to count what each root reaches");

	progress_begin(&progress, "what each root reaches");
	for (uint32_t i = 0; i < g->nroots && status == CTL_OK; i++) {
		progress_step(&progress, i, g->nroots);
		status = growth_note(l, g->roots[i].name, "", "", tree_reached(g, 1 + i, seen, seen + g->n));
	}
	progress_end(&progress);
	store_free(&store);
	return status;
}

static int look_roots(struct leaks *l)
{
	struct graph g;
	int status = graph_load(&g, l->ctl);

	if (status != CTL_OK)
		return status;
	status = note_roots(l, &g);
	graph_free(&g);
	return status;
}

static int note_sites(struct leaks *l, const Pprof__Profile *profile)
{
	struct sites sites = { 0 };
	int status = sites_add(&sites, profile, false);

	for (size_t i = 0; i < sites.n && status == CTL_OK; i++) {
		int64_t bytes = sites.list[i]->now[PPROF_INUSE_SPACE];

		status = growth_note(l, sites.list[i]->folded, sites.list[i]->type, sites.list[i]->source,
				     bytes > 0 ? (uint64_t)bytes : 0);
	}
	sites_free(&sites);
	return status;
}

static int look_sites(struct leaks *l)
{
	struct samples *samples = sampler_samples(l->sampler);
	Pprof__Profile *profile;
	int status;

	samples_live(samples);
	profile = pprof_make(samples, sampler_processes(l->sampler), (struct pprof_time){ 0 });
	if (!profile)
		return ctl_say(CTL_TROUBLE, "out of memory");
	status = note_sites(l, profile);
	pprof_free(profile);
	return status;
}

/* What there is to be by. */
struct by {
	const char *word, *column;
	int (*look)(struct leaks *l);
};

static const struct by bys[] = {
	{ "type", "TYPE", look_types },
	{ "root", "ROOT", look_roots },
	{ "site", "STACK", look_sites },
};
#define BY_SITE (&bys[2])

static const struct by *by_find(const char *word)
{
	for (size_t i = 0; i < sizeof(bys) / sizeof(bys[0]); i++)
		if (strcmp(bys[i].word, word) == 0)
			return &bys[i];
	return NULL;
}

/* So long, in which the sampler, if there is one, takes samples. */
static int pass(struct leaks *l)
{
	bool ended = false;
	int status;

	if (!l->sampler) {
		ctl_sleep(l->ms);
		return CTL_OK;
	}
	status = sampler_run(l->sampler, l->ms ? l->ms : SAMPLER_MS, &ended);
	return status == CTL_OK && ended ? ctl_say(CTL_NO_DAEMON, "the daemon has gone") : status;
}

static int look(struct leaks *l, const struct by *by)
{
	int status = ctl_collect(l->ctl);

	if (status != CTL_OK)
		return status;
	l->look++;
	status = by->look(l);
	growths_compare(l);
	return status;
}

static int looks(struct leaks *l, const struct by *by)
{
	struct progress progress;
	int status = CTL_OK;

	progress_begin(&progress, "collections");
	for (uint64_t i = 0; status == CTL_OK && i < l->cycles; i++) {
		progress_step(&progress, i, l->cycles);
		if (i)
			status = pass(l);
		if (status == CTL_OK)
			status = look(l, by);
	}
	progress_end(&progress);
	return status;
}

static int compare_growth(const void *a, const void *b)
{
	const struct growth *x = *(struct growth *const *)a, *y = *(struct growth *const *)b;
	int64_t left = (int64_t)(x->last - x->first), right = (int64_t)(y->last - y->first);

	return left < right ? 1 : left > right ? -1 : compare_names(x, y);
}

static bool is_steady(const struct leaks *l, const struct growth *g)
{
	return g->rises + 1 >= l->cycles;
}

static void growth_row(const struct leaks *l, struct table *t, const struct growth *g, bool site)
{
	char *stack = site ? site_unfolded(g->name) : NULL;

	table_row(t);
	if (!site)
		table_text(t, g->name);
	table_number(t, g->first);
	table_number(t, g->last);
	table_number(t, g->last - g->first);
	table_number(t, g->rises);
	table_number(t, is_steady(l, g));
	if (site) {
		table_text(t, g->type);
		table_text(t, g->source);
		table_text(t, stack ? stack : "?");
	}
	free(stack);
}

static int print(struct leaks *l, const struct by *by)
{
	const struct table_column named[] = { { by->column, TABLE_TEXT }, { "BEFORE", TABLE_BYTES },
					      { "AFTER", TABLE_BYTES },   { "GREW", TABLE_BYTES },
					      { "RISES", TABLE_COUNT },   { "STEADY", TABLE_BOOL } };
	static const struct table_column sites[] = { { "BEFORE", TABLE_BYTES }, { "AFTER", TABLE_BYTES },
						     { "GREW", TABLE_BYTES },   { "RISES", TABLE_COUNT },
						     { "STEADY", TABLE_BOOL },  { "TYPE", TABLE_TEXT },
						     { "SOURCE", TABLE_TEXT },  { "STACK", TABLE_TEXT } };
	bool any = false;
	struct table t;
	int status = by == BY_SITE ? TABLE_BEGIN(&t, l->ctl, "leaks", sites)
				   : TABLE_BEGIN(&t, l->ctl, "leaks", named);

	if (status == CTL_OK && l->n)
		qsort(l->list, l->n, sizeof(struct growth *), compare_growth);
	for (size_t i = 0; status == CTL_OK && i < l->n; i++) {
		if (l->list[i]->last <= l->list[i]->first)
			continue;
		growth_row(l, &t, l->list[i], by == BY_SITE);
		any |= is_steady(l, l->list[i]);
	}
	if (status == CTL_OK)
		status = table_print(&t);
	return status == CTL_OK && any ? CTL_FOUND : status;
}

static void keep(void *node)
{
	(void)node;
}

static void leaks_free(struct leaks *l)
{
	tdestroy(l->tree, keep);
	for (size_t i = 0; i < l->n; i++)
		growth_free(l->list[i]);
	free(l->list);
	sampler_stop(l->sampler);
}

int verb_leaks(struct ctl *ctl)
{
	struct leaks l = { .ctl = ctl, .cycles = 5, .ms = 1000 };
	const struct by *by = by_find(ctl->by ? ctl->by : "type");
	int status = CTL_OK;

	if (!by)
		return ctl_say(CTL_USAGE, "--by=%s: write type, root or site", ctl->by);
	if ((ctl->nargs > 0 && !ctl_number(ctl->args[0], &l.cycles)) ||
	    (ctl->nargs > 1 && !ctl_seconds(ctl->args[1], 3600, &l.ms)) || l.cycles < 2 || l.cycles > 1000)
		return ctl_say(
			CTL_USAGE,
			"usage: heapctl leaks [CYCLES [SECONDS]], with 2 to 1000 cycles and up to 3600 seconds between two");
	ctl->no_gc = true; /* a walk comes after a collection of ours */
	if (by == BY_SITE)
		status = sampler_start(&l.sampler, ctl);
	if (status == CTL_OK)
		status = looks(&l, by);
	if (status == CTL_OK)
		status = print(&l, by);
	leaks_free(&l);
	return status;
}
