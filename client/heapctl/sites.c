/* SPDX-License-Identifier: MIT */
/*
 * sites.c - owns the sum of a profile's samples by stack and type. Stacks are compared by names: so those of two profiles, of
 * two processes, or of two builds of a program can be.
 */
#include "sites.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	const struct site *x = a, *y = b;
	int order = strcmp(x->folded, y->folded);

	return order ? order : strcmp(x->type, y->type);
}

static void name_write(FILE *f, const char *name, bool first)
{
	if (!first)
		fputc(';', f);
	for (; *name; name++)
		fputc(*name == ';' || *name == '\n' ? ':' : *name, f);
}

static void location_write(FILE *f, const Pprof__Profile *p, const Pprof__Location *l, bool *first)
{
	for (size_t i = l ? l->n_line : 0; i; i--) {
		const Pprof__Function *function = pprof_function(p, l->line[i - 1]->function_id);

		name_write(f, function ? pprof_string(p, function->name) : "?", *first);
		*first = false;
	}
	if (l && !l->n_line) {
		fprintf(f, "%s0x%llx", *first ? "" : ";", (unsigned long long)l->address);
		*first = false;
	}
}

static char *fold(const Pprof__Profile *p, const Pprof__Sample *s)
{
	char *folded = NULL;
	bool first = true;
	size_t size;
	FILE *f = open_memstream(&folded, &size);

	if (!f)
		return NULL;
	for (size_t i = s->n_location_id; i; i--)
		location_write(f, p, pprof_location(p, s->location_id[i - 1]), &first);
	if (first)
		fputs("?", f);
	return fclose(f) == 0 ? folded : NULL;
}

static char *source_of(const Pprof__Profile *p, const Pprof__Sample *s)
{
	const Pprof__Location *l = s->n_location_id ? pprof_location(p, s->location_id[0]) : NULL;
	const Pprof__Function *f = l && l->n_line ? pprof_function(p, l->line[0]->function_id) : NULL;
	const char *path = f ? pprof_string(p, f->filename) : "", *name = strrchr(path, '/');
	char *source = NULL;

	if (!*path)
		return strdup("");
	return asprintf(&source, "%s:%lld", name ? name + 1 : path, (long long)l->line[0]->line) < 0 ? NULL
												     : source;
}

static const char *type_of(const Pprof__Profile *p, const Pprof__Sample *s)
{
	for (size_t i = 0; i < s->n_label; i++)
		if (strcmp(pprof_string(p, s->label[i]->key), "type") == 0)
			return pprof_string(p, s->label[i]->str);
	return "";
}

static void site_free(struct site *site)
{
	if (!site)
		return;
	free(site->folded);
	free(site->type);
	free(site->source);
	free(site);
}

static struct site *site_find(struct sites *sites, const Pprof__Profile *p, const Pprof__Sample *s)
{
	struct site *site = calloc(1, sizeof(*site)), **found, **list;

	if (!site)
		return NULL;
	*site = (struct site){ .folded = fold(p, s),
			       .type = strdup(type_of(p, s)),
			       .source = source_of(p, s) };
	found = site->folded && site->type && site->source ? tfind(site, &sites->tree, compare) : NULL;
	if (found) {
		site_free(site);
		return *found;
	}
	list = reallocarray(sites->list, sites->n + 1, sizeof(*list));
	if (list)
		sites->list = list;
	if (!list || !site->folded || !site->type || !site->source || !tsearch(site, &sites->tree, compare)) {
		site_free(site);
		return NULL;
	}
	return list[sites->n++] = site;
}

int sites_add(struct sites *sites, const Pprof__Profile *profile, bool before)
{
	for (size_t i = 0; i < profile->n_sample; i++) {
		struct site *site = site_find(sites, profile, profile->sample[i]);

		if (!site)
			return ctl_say(CTL_TROUBLE, "out of memory");
		for (unsigned v = 0; v < PPROF_VALUES; v++)
			(before ? site->before : site->now)[v] += pprof_value(profile->sample[i], v);
	}
	return CTL_OK;
}

static void keep(void *node)
{
	(void)node;
}

void sites_free(struct sites *sites)
{
	tdestroy(sites->tree, keep);
	for (size_t i = 0; i < sites->n; i++)
		site_free(sites->list[i]);
	free(sites->list);
	*sites = (struct sites){ 0 };
}

struct order {
	enum pprof_value value;
	bool growth;
};

static int compare_order(const void *a, const void *b, void *arg)
{
	const struct site *x = *(struct site *const *)a, *y = *(struct site *const *)b;
	const struct order *o = arg;
	int64_t left = x->now[o->value] - (o->growth ? x->before[o->value] : 0);
	int64_t right = y->now[o->value] - (o->growth ? y->before[o->value] : 0);

	return left < right ? 1 : left > right ? -1 : compare(x, y);
}

void sites_sort(struct sites *sites, enum pprof_value value, bool growth)
{
	struct order order = { value, growth };

	if (sites->n)
		qsort_r(sites->list, sites->n, sizeof(struct site *), compare_order, &order);
}

char *site_unfolded(const char *folded)
{
	char *text = NULL;
	size_t size, end = strlen(folded);
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	for (size_t at = end; at; end = at ? --at : 0) {
		while (at && folded[at - 1] != ';')
			at--;
		fprintf(f, "%s%.*s", end == strlen(folded) ? "" : " < ", (int)(end - at), folded + at);
		if (!at)
			break;
	}
	return fclose(f) == 0 ? text : NULL;
}

char *site_stack(const Pprof__Profile *profile, const Pprof__Sample *sample)
{
	char *folded = fold(profile, sample), *text = folded ? site_unfolded(folded) : NULL;

	free(folded);
	return text;
}
