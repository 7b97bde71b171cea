/* SPDX-License-Identifier: MIT */
/*
 * pprofmake.c - owns a profile in the making: all of it is from malloc(), as what protobuf-c unpacks is, so both are freed
 * the same way.
 *
 * A place of code has one address in the profile, whichever process ran it and wherever that had mapped the file: each file
 * is a mapping of its own, far from the others, and the offset in the file is the offset there.
 */
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pprof.h"
#include "spans.h"
#include "symbols.h"

#define MAPPING_SHIFT 40

struct text_entry {
	const char *text;
	int64_t index;
};

struct maker {
	const struct samples *samples;
	struct symbols *symbols;
	const struct processes *processes;
	Pprof__Profile *profile;
	void *texts, *locations, *functions;
	size_t strings_room, samples_room, locations_room, functions_room;
	bool failed; /* no memory: whatever is missing then is never seen */
};

struct place {
	struct frame frame;
	uint64_t id;
};

struct named {
	int64_t name, source;
	uint64_t id;
};

static int compare_texts(const void *a, const void *b)
{
	return strcmp(((const struct text_entry *)a)->text, ((const struct text_entry *)b)->text);
}

static int compare_places(const void *a, const void *b)
{
	const struct frame *x = &((const struct place *)a)->frame, *y = &((const struct place *)b)->frame;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int compare_named(const void *a, const void *b)
{
	const struct named *x = a, *y = b;

	if (x->name != y->name)
		return x->name < y->name ? -1 : 1;
	return x->source < y->source ? -1 : x->source > y->source;
}

static void *make(struct maker *m, size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	m->failed |= !p;
	return p;
}

/* Room for one more of n pointers; the list stays valid if there is none. */
static bool more(struct maker *m, void *list, size_t n, size_t *room)
{
	void **old, **new;

	if (n < *room)
		return true;
	memcpy(&old, list, sizeof(old));
	new = reallocarray(old, *room ? *room * 2 : 64, sizeof(void *));
	m->failed |= !new;
	if (!new)
		return false;
	*room = *room ? *room * 2 : 64;
	memcpy(list, &new, sizeof(new));
	return true;
}

static int64_t text(struct maker *m, const char *what)
{
	struct text_entry key = { .text = what }, *entry, **found = tfind(&key, &m->texts, compare_texts);
	Pprof__Profile *p = m->profile;

	if (found)
		return (*found)->index;
	entry = make(m, 1, sizeof(*entry));
	if (!entry || !more(m, &p->string_table, p->n_string_table, &m->strings_room)) {
		free(entry);
		return 0;
	}
	p->string_table[p->n_string_table] = strdup(what);
	*entry = (struct text_entry){ p->string_table[p->n_string_table], (int64_t)p->n_string_table };
	if (!entry->text || !tsearch(entry, &m->texts, compare_texts)) {
		free(p->string_table[p->n_string_table]);
		free(entry);
		m->failed = true;
		return 0;
	}
	p->n_string_table++;
	return entry->index;
}

static uint64_t function(struct maker *m, int64_t name, int64_t linkage, int64_t source)
{
	struct named key = { name, source, 0 }, *entry, **found = tfind(&key, &m->functions, compare_named);
	Pprof__Profile *p = m->profile;
	Pprof__Function *f;

	if (found)
		return (*found)->id;
	entry = make(m, 1, sizeof(*entry));
	f = make(m, 1, sizeof(*f));
	if (!entry || !f || !more(m, &p->function, p->n_function, &m->functions_room)) {
		free(entry);
		free(f);
		return 0;
	}
	pprof__function__init(f);
	f->id = p->n_function + 1;
	f->name = name;
	f->system_name = linkage;
	f->filename = source;
	p->function[p->n_function++] = f;
	*entry = (struct named){ name, source, f->id };
	if (!tsearch(entry, &m->functions, compare_named))
		free(entry);
	return f->id;
}

static void line_add(struct maker *m, Pprof__Location *l, const struct frame *frame)
{
	struct symbol symbol = symbol_find(m->symbols, frame->file, frame->offset);
	Pprof__Line *line = make(m, 1, sizeof(*line));

	l->line = make(m, 1, sizeof(Pprof__Line *));
	if (!line || !l->line) {
		free(line);
		return;
	}
	pprof__line__init(line);
	line->function_id =
		function(m, text(m, symbol.function), text(m, symbol.linkage), text(m, symbol.source));
	line->line = symbol.line;
	l->line[0] = line;
	l->n_line = 1;
}

static uint64_t location(struct maker *m, const struct frame *frame)
{
	struct place key = { .frame = *frame }, *entry, **found = tfind(&key, &m->locations, compare_places);
	Pprof__Profile *p = m->profile;
	Pprof__Location *l;

	if (found)
		return (*found)->id;
	entry = make(m, 1, sizeof(*entry));
	l = make(m, 1, sizeof(*l));
	if (!entry || !l || !more(m, &p->location, p->n_location, &m->locations_room)) {
		free(entry);
		free(l);
		return 0;
	}
	pprof__location__init(l);
	l->id = p->n_location + 1;
	l->address = frame->offset;
	if (frame->file != SAMPLES_NOFILE) {
		l->mapping_id = frame->file + 1u;
		l->address += l->mapping_id << MAPPING_SHIFT;
	}
	p->location[p->n_location++] = l;
	*entry = (struct place){ *frame, l->id };
	if (!tsearch(entry, &m->locations, compare_places))
		free(entry);
	line_add(m, l, frame);
	return l->id;
}

static void mapping_make(struct maker *m, uint32_t file)
{
	Pprof__Mapping *mapping = make(m, 1, sizeof(*mapping));
	char id[64];

	if (!mapping)
		return;
	pprof__mapping__init(mapping);
	mapping->id = file + 1u;
	mapping->memory_start = mapping->id << MAPPING_SHIFT;
	mapping->memory_limit = (mapping->id + 1) << MAPPING_SHIFT;
	mapping->filename = text(m, m->processes->files[file].path);
	symbol_build_id(m->symbols, file, id);
	mapping->build_id = text(m, id);
	mapping->has_functions = mapping->has_filenames = mapping->has_line_numbers = true;
	m->profile->mapping[m->profile->n_mapping++] = mapping;
}

static void label_add(struct maker *m, Pprof__Sample *s, const char *key, int64_t number, const char *value)
{
	Pprof__Label *label = make(m, 1, sizeof(*label));

	if (!label)
		return;
	pprof__label__init(label);
	label->key = text(m, key);
	label->num = number;
	label->str = value ? text(m, value) : 0;
	s->label[s->n_label++] = label;
}

static Pprof__Sample *sample_new(struct maker *m, const struct stack *stack)
{
	Pprof__Profile *p = m->profile;
	Pprof__Sample *s = more(m, &p->sample, p->n_sample, &m->samples_room) ? make(m, 1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	pprof__sample__init(s);
	s->location_id = make(m, stack->n, sizeof(*s->location_id));
	s->value = make(m, PPROF_VALUES, sizeof(*s->value));
	s->label = make(m, 4, sizeof(Pprof__Label *));
	p->sample[p->n_sample++] = s;
	if (!s->location_id || !s->value || !s->label)
		return NULL;
	s->n_value = PPROF_VALUES;
	for (uint32_t i = 0; i < stack->n; i++)
		s->location_id[s->n_location_id++] = location(m, &stack->frames[i]);
	label_add(m, s, "type", 0, class_name(m->samples->ctl, stack->class).text);
	return s;
}

static int64_t rounded(double number)
{
	return number > 0 ? (int64_t)(number + 0.5) : 0;
}

static void live_make(struct maker *m, const struct sample *sample)
{
	Pprof__Sample *s = sample_new(m, m->samples->stacks[sample->stack]);
	double objects = sample->bytes ? (double)sample->weight / (double)sample->bytes : 0;

	if (!s)
		return;
	s->value[PPROF_ALLOC_OBJECTS] = s->value[PPROF_INUSE_OBJECTS] = rounded(objects);
	s->value[PPROF_ALLOC_SPACE] = s->value[PPROF_INUSE_SPACE] = (int64_t)sample->weight;
	label_add(m, s, "address", (int64_t)sample->address, NULL);
	label_add(m, s, "cycle", (int64_t)sample->cycle, NULL);
	label_add(m, s, "pid", sample->pid, NULL);
}

static void gone_make(struct maker *m, const struct stack *stack)
{
	Pprof__Sample *s = stack->bytes > stack->live_bytes ? sample_new(m, stack) : NULL;

	if (!s)
		return;
	s->value[PPROF_ALLOC_OBJECTS] = rounded(stack->objects - stack->live_objects);
	s->value[PPROF_ALLOC_SPACE] = (int64_t)(stack->bytes - stack->live_bytes);
}

static Pprof__ValueType *type_new(struct maker *m, const char *type, const char *unit)
{
	Pprof__ValueType *t = make(m, 1, sizeof(*t));

	if (!t)
		return NULL;
	pprof__value_type__init(t);
	t->type = text(m, type);
	t->unit = text(m, unit);
	return t;
}

static void types_make(struct maker *m)
{
	static const char *const types[PPROF_VALUES][2] = { { "alloc_objects", "count" },
							    { "alloc_space", "bytes" },
							    { "inuse_objects", "count" },
							    { "inuse_space", "bytes" } };
	Pprof__Profile *p = m->profile;

	p->sample_type = make(m, PPROF_VALUES, sizeof(Pprof__ValueType *));
	for (unsigned i = 0; p->sample_type && i < PPROF_VALUES; i++) {
		Pprof__ValueType *t = type_new(m, types[i][0], types[i][1]);

		if (t)
			p->sample_type[p->n_sample_type++] = t;
	}
	p->default_sample_type = text(m, "inuse_space");
	p->period_type = type_new(m, "space", "bytes");
	p->period = (int64_t)HEAPD_READ_ONCE(ctl_directory(m->samples->ctl)->sample_bytes);
}

static void comment_make(struct maker *m)
{
	Pprof__Profile *p = m->profile;
	char comment[256];

	snprintf(
		comment, sizeof(comment),
		"heapd's heap '%s': what was allocated while the profile was taken; in use: what of it lived at its end",
		m->samples->ctl->heap->name);
	p->comment = make(m, 1, sizeof(*p->comment));
	if (p->comment)
		p->comment[p->n_comment++] = text(m, comment);
}

static void profile_fill(struct maker *m)
{
	const struct samples *s = m->samples;

	text(m, "");
	types_make(m);
	comment_make(m);
	m->profile->mapping = make(m, m->processes->nfiles, sizeof(Pprof__Mapping *));
	for (uint32_t i = 0; m->profile->mapping && i < m->processes->nfiles; i++)
		mapping_make(m, i);
	for (size_t i = 0; i < s->n && !m->failed; i++)
		live_make(m, s->list[i]);
	for (uint32_t i = 0; i < s->nstacks && !m->failed; i++)
		gone_make(m, s->stacks[i]);
}

Pprof__Profile *pprof_make(const struct samples *samples, const struct processes *processes,
			   struct pprof_time time)
{
	struct maker m = { .samples = samples, .processes = processes, .symbols = symbols_new(processes) };

	m.profile = make(&m, 1, sizeof(*m.profile));
	if (m.profile && m.symbols) {
		pprof__profile__init(m.profile);
		m.profile->time_nanos = (int64_t)time.began;
		m.profile->duration_nanos = (int64_t)time.took;
		profile_fill(&m);
	}
	tdestroy(m.texts, free);
	tdestroy(m.locations, free);
	tdestroy(m.functions, free);
	if (m.failed || !m.symbols) {
		pprof_free(m.profile);
		m.profile = NULL;
	}
	symbols_free(m.symbols);
	return m.profile;
}

void pprof_free(Pprof__Profile *profile)
{
	if (profile)
		pprof__profile__free_unpacked(profile, NULL);
}
