/* SPDX-License-Identifier: MIT */
/*
 * sites.c - owns which of the daemon's instructions count: each that writes to memory other than the stack, but for files that keep
 * nothing that another daemon finds; and which of them have breaks next.
 */
#include "sites.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crowd.h"

#define AGAIN 64u /* of those that had a death, one in so many has another */
#define EVES  8u  /* one in so many */

/* What they write is gone with the daemon, or it is the keeper that runs them. */
static const char *const own_files[] = {
	"config.c",  "configaccess.c", "configcheck.c", "configfile.c", "configset.c", "configtable.c",
	"inifile.c", "value.c",        "keep.c",        "kept.c",       "notice.c",    "log.c",
	"journal.c", "path.c",         "fields.c",      "main.c",
};

/* Which there are -------------------------------------------------------------------------------------------------- */

static bool is_wanted(const char *file, const char *only)
{
	if (only)
		return strcmp(file, only) == 0;
	for (size_t i = 0; i < sizeof(own_files) / sizeof(own_files[0]); i++)
		if (strcmp(file, own_files[i]) == 0)
			return false;
	return true;
}

/* What the process runs that takes memory together: nobody traces it, and a break there would be its end, not the daemon's. */
static bool is_others(const char *file, const char *name)
{
	return strcmp(file, "collapser.c") == 0 && strcmp(name, "serve") == 0;
}

/* The functions of the daemon's files, as nm lists them: "address t name<TAB>path/file.c:line". */
static void find_functions(const struct text *text, const char *only, bool *wanted)
{
	char command[512], path[512], name[128], *line = NULL;
	unsigned long long at;
	size_t room = 0;
	FILE *listing;

	snprintf(command, sizeof(command), "nm -l --defined-only '%s'", text->path);
	listing = popen(command, "re");
	if (!listing)
		err(1, "nm");
	while (getline(&line, &room, listing) > 0) {
		const char *file = sscanf(line, "%llx %*c %127s %511[^:]", &at, name, path) == 3
					   ? strstr(path, "/daemon/")
					   : NULL;
		const struct instruction *in = file ? text_find(text, at) : NULL;

		file += file ? strlen("/daemon/") : 0;
		if (in)
			wanted[in->symbol] = is_wanted(file, only) && !is_others(file, name);
	}
	free(line);
	if (pclose(listing) != 0)
		errx(1, "nm %s", text->path);
}

void sites_load(struct sites *s, const char *program, const char *file)
{
	struct text *t = &s->text;
	bool *wanted;

	text_load_file(t, program, 0);
	wanted = calloc(t->nsymbols, sizeof(*wanted));
	s->all = calloc(t->ninstructions, sizeof(struct instruction *));
	s->breaks = calloc(t->ninstructions, sizeof(*s->breaks));
	s->ends = calloc(t->ninstructions, sizeof(struct instruction *));
	if (!s->all || !s->breaks || !s->ends || !wanted)
		err(1, "calloc");
	find_functions(t, file, wanted);
	for (size_t i = 0; i < t->ninstructions; i++)
		if (t->instructions[i].writes && wanted[t->instructions[i].symbol])
			s->all[s->n++] = &t->instructions[i];
	free(wanted);
}

void sites_free(struct sites *s)
{
	text_free(&s->text);
	free(s->all);
	free(s->ends);
	free(s->breaks);
}

void sites_list(const struct sites *s, const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		err(1, "%s", path);
	for (size_t i = 0; i < s->n; i++)
		fprintf(file, "%" PRIx64 "\n", s->all[i]->at);
	if (fclose(file) != 0)
		err(1, "%s", path);
}

size_t sites_covered(const struct sites *s)
{
	size_t covered = 0;

	for (size_t i = 0; i < s->n; i++)
		covered += s->all[i]->covered;
	return covered;
}

/* Which are chosen ------------------------------------------------------------------------------------------------- */

/* Where one passes only after a death at one certain store: always among them. */
static bool is_rebirth(const struct sites *s, const struct instruction *in)
{
	static const char *const words[] = { "rebuild", "recover", "restore", "entry_undo", "_init" };
	const char *name = s->text.symbols[in->symbol].name;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(name, words[i]))
			return true;
	return false;
}

/* A death at one of these leaves something that only the next daemon's recovery passes. */
static bool is_eve(const struct sites *s, const struct instruction *in)
{
	static const char *const names[] = { "ring_withdraw",   "ring_fill",   "count_out",
					     "spans_cut_large", "types_class", "slab_free" };
	const char *name = s->text.symbols[in->symbol].name;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* Nothing but what is missing of recoveries, and some of what comes before them. False: nothing of them is missing. */
static bool choose_eve(struct sites *s)
{
	bool missing = false;

	s->nbreaks = 0;
	for (size_t i = 0; i < s->n; i++) {
		const struct instruction *in = s->all[i];
		bool wanted = !in->covered && is_rebirth(s, in);

		missing |= wanted;
		if (wanted || (is_eve(s, in) && crowd_draw(&s->seed) % EVES == 0))
			s->breaks[s->nbreaks++] = in->at;
	}
	return missing;
}

bool sites_choose(struct sites *s, bool all, bool twice)
{
	uint64_t among = all ? 1 : UINT64_C(1) << 2 * (crowd_draw(&s->seed) % 3);
	bool again = twice && crowd_draw(&s->seed) % 2;

	if (again && crowd_draw(&s->seed) % 2 && choose_eve(s))
		return false;
	s->nbreaks = 0;
	for (size_t i = 0; i < s->n; i++) {
		const struct instruction *in = s->all[i];

		if (in->covered ? again && crowd_draw(&s->seed) % AGAIN == 0
				: is_rebirth(s, in) || crowd_draw(&s->seed) % among == 0)
			s->breaks[s->nbreaks++] = in->at;
	}
	return among == 1;
}

void sites_note_end(struct sites *s, uint64_t at)
{
	struct instruction *in = text_find(&s->text, at);

	/* Two threads may come to it at once. */
	if (in->come_to)
		return;
	in->come_to = true;
	s->ends[s->nends++] = in;
}

static int by_address(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

size_t sites_choose_ends(struct sites *s, size_t from)
{
	s->nbreaks = 0;
	for (size_t i = from; i < s->nends; i++)
		if (!s->ends[i]->covered)
			s->breaks[s->nbreaks++] = s->ends[i]->at;
	qsort(s->breaks, s->nbreaks, sizeof(*s->breaks), by_address);
	return s->nbreaks;
}

size_t sites_choose_others(struct sites *s)
{
	s->nbreaks = 0;
	for (size_t i = 0; i < s->n; i++)
		if (!s->all[i]->covered && !s->all[i]->come_to)
			s->breaks[s->nbreaks++] = s->all[i]->at;
	return s->nbreaks;
}
