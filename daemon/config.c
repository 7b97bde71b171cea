/* SPDX-License-Identifier: MIT */
/*
 * config.c - owns the struct config: its heaps, their defaults, and what is printed of it.
 *
 * Right because it knows no option by name. What a file, an override, an empty assignment or a default says goes
 * through the same row of configtable.c and the same parser, and what is printed goes through the same row back.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heapd/phase.h"

static int set_defaults(enum config_section section, void *object)
{
	const struct config_option *o;

	for (size_t i = 0; (o = config_option_at(i)); i++) {
		struct value_error ignored;
		int r;

		if (o->section != section)
			continue;
		r = o->parse(o, o->standard, object, &ignored);
		if (r < 0)
			return r;
	}
	return 0;
}

int config_init(struct config *cfg)
{
	*cfg = (struct config){ 0 };
	return set_defaults(CONFIG_DAEMON, cfg);
}

static void free_heap(struct config_heap *heap)
{
	ids_free(&heap->allow.users);
	ids_free(&heap->allow.groups);
	ids_free(&heap->readonly.users);
	ids_free(&heap->readonly.groups);
}

void config_free(struct config *cfg)
{
	for (size_t i = 0; i < cfg->nheaps; i++)
		free_heap(&cfg->heaps[i]);
	for (size_t i = 0; i < cfg->nfiles; i++)
		free(cfg->files[i]);
	free(cfg->heaps);
	free(cfg->files);
	*cfg = (struct config){ 0 };
}

const struct config_heap *config_find_heap(const struct config *cfg, const char *name)
{
	for (size_t i = 0; i < cfg->nheaps; i++) {
		if (strcmp(cfg->heaps[i].name, name) == 0)
			return &cfg->heaps[i];
	}
	return NULL;
}

int config_make_heap(struct config *cfg, const char *name)
{
	const struct config_heap *known = config_find_heap(cfg, name);
	struct config_heap *heaps;

	if (known)
		return (int)(known - cfg->heaps);
	if (cfg->nheaps == CONFIG_HEAPS_MAX)
		return -E2BIG;
	heaps = reallocarray(cfg->heaps, cfg->nheaps + 1, sizeof(*heaps));
	if (!heaps)
		return -ENOMEM;
	cfg->heaps = heaps;
	heaps += cfg->nheaps;
	*heaps = (struct config_heap){ 0 };
	snprintf(heaps->name, sizeof(heaps->name), "%s", name);
	if (set_defaults(CONFIG_HEAP, heaps) < 0)
		return -ENOMEM;
	return (int)cfg->nheaps++;
}

void config_drop_last_heap(struct config *cfg)
{
	free_heap(&cfg->heaps[--cfg->nheaps]);
}

/* Lists and defaults need no memory, so only a mistake in the text or a list that grows can fail. */
int config_assign(const struct config_option *o, const char *key, const char *text, void *object,
		  struct config_error *err)
{
	bool comment = strstr(text, " #") || strstr(text, " ;");
	struct value_error why;
	int r;

	r = o->parse(o, *text ? text : o->standard, object, &why);
	if (r == -EINVAL)
		snprintf(err->text, sizeof(err->text), "%s=%.60s%s: %s (e.g. %s=%s)%s", key, text,
			 strlen(text) > 60 ? "..." : "", why.text, key, o->example,
			 comment ? "; a comment needs a line of its own" : "");
	return r;
}

unsigned config_heap_debug(const struct config_heap *heap)
{
	return heap->debug | (heap->hardened ? HEAPD_DEBUG_HARDENED : 0);
}

static void dump_section(enum config_section section, const void *object, FILE *f)
{
	const struct config_option *o;

	for (size_t i = 0; (o = config_option_at(i)); i++) {
		if (o->section != section)
			continue;
		fprintf(f, "%s=", o->key);
		o->print(o, object, f);
		fputc('\n', f);
	}
}

int config_dump(const struct config *cfg, FILE *f)
{
	fputs("[Daemon]\n", f);
	dump_section(CONFIG_DAEMON, cfg, f);
	for (size_t h = 0; h < cfg->nheaps; h++) {
		fprintf(f, "\n[Heap %s]\n", cfg->heaps[h].name);
		dump_section(CONFIG_HEAP, &cfg->heaps[h], f);
	}
	return ferror(f) ? -EIO : 0;
}
