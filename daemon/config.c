/* SPDX-License-Identifier: MIT */
/*
 * config.c - owns what heapd can be told: the options, their defaults, and how they must fit together.
 *
 * Right because there is one table. What a file, an override, an empty assignment or a default says goes
 * through the same row and the same parser, and what is printed goes through the same row back. The object
 * that a row's functions get is the struct config or the struct config_heap that its section names.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct value_word level_words[] = {
	{ "err", LOG_ERR },   { "warning", LOG_WARNING }, { "notice", LOG_NOTICE },
	{ "info", LOG_INFO }, { "debug", LOG_DEBUG },     { NULL, 0 },
};

static const struct value_word target_words[] = {
	{ "auto", LOG_TARGET_AUTO },
	{ "journal", LOG_TARGET_JOURNAL },
	{ "console", LOG_TARGET_CONSOLE },
	{ NULL, 0 },
};

static const struct value_word huge_words[] = {
	{ "auto", CONFIG_HUGE_AUTO },
	{ "never", CONFIG_HUGE_NEVER },
	{ "hugetlb", CONFIG_HUGE_HUGETLB },
	{ NULL, 0 },
};

static void *field_of(const struct config_option *o, void *object)
{
	return (char *)object + o->offset;
}

static const void *field_in(const struct config_option *o, const void *object)
{
	return (const char *)object + o->offset;
}

static int parse_path(const struct config_option *o, const char *text, void *object, struct value_error *err)
{
	return value_path(text, field_of(o, object), (size_t)o->max, err);
}

static void print_path(const struct config_option *o, const void *object, FILE *f)
{
	fputs(field_in(o, object), f);
}

static int parse_mode(const struct config_option *o, const char *text, void *object, struct value_error *err)
{
	return value_mode(text, field_of(o, object), err);
}

static void print_mode(const struct config_option *o, const void *object, FILE *f)
{
	fprintf(f, "%04o", *(const mode_t *)field_in(o, object));
}

/* Enumerations whose values are all from 0 on: int and unsigned may stand for each other. */
static int parse_word(const struct config_option *o, const char *text, void *object, struct value_error *err)
{
	return value_word(text, o->words, field_of(o, object), err);
}

static void print_word(const struct config_option *o, const void *object, FILE *f)
{
	fputs(value_word_text(o->words, *(const int *)field_in(o, object)), f);
}
_Static_assert(sizeof(enum config_huge) == sizeof(int) && sizeof(enum log_target) == sizeof(int),
	       "parse_word writes them as int");

static int parse_count(const struct config_option *o, const char *text, void *object, struct value_error *err)
{
	return value_count(text, o->min, o->max, field_of(o, object), err);
}

static void print_count(const struct config_option *o, const void *object, FILE *f)
{
	fprintf(f, "%u", *(const unsigned *)field_in(o, object));
}

static int parse_size(const struct config_option *o, const char *text, void *object, struct value_error *err)
{
	uint64_t *size = field_of(o, object);
	int r = value_size(text, o->min, o->max, size, err);

	if (r == 0)
		*size = (*size + HEAPD_EXTENT_SIZE - 1) / HEAPD_EXTENT_SIZE * HEAPD_EXTENT_SIZE;
	return r;
}

static void print_size(const struct config_option *o, const void *object, FILE *f)
{
	fputs(value_size_text(*(const uint64_t *)field_in(o, object)).text, f);
}

static int parse_limit(const struct config_option *o, const char *text, void *object, struct value_error *err)
{
	struct config_heap *heap = object;
	unsigned percent = 0;
	uint64_t bytes = 0;
	int r;

	if (strchr(text, '%'))
		r = value_percent(text, &percent, err);
	else
		r = value_size(text, o->min, o->max, &bytes, err);
	if (r < 0)
		return r;
	heap->limit = bytes;
	heap->limit_percent = percent;
	return 0;
}

static void print_limit(const struct config_option *o, const void *object, FILE *f)
{
	const struct config_heap *heap = object;

	if (heap->limit)
		print_size(o, object, f);
	else
		fprintf(f, "%u%%", heap->limit_percent);
}

static int parse_base(const struct config_option *o, const char *text, void *object, struct value_error *err)
{
	uint64_t base = 0;
	int r = 0;

	if (strcmp(text, "auto") != 0)
		r = value_address(text, &base, err);
	if (r < 0)
		return value_fail(err, "not an address; write auto or a hexadecimal number with 0x");
	if (base % HEAPD_CHUNK_SIZE)
		return value_fail(err, "not a multiple of 2 MiB; the next lower one is 0x%" PRIx64,
				  base / HEAPD_CHUNK_SIZE * HEAPD_CHUNK_SIZE);
	if (base && (base < o->min || base >= o->max))
		return value_fail(err,
				  "out of range; write an address from 0x%" PRIx64 " to below 0x%" PRIx64,
				  o->min, o->max);
	*(uint64_t *)field_of(o, object) = base;
	return 0;
}

static void print_base(const struct config_option *o, const void *object, FILE *f)
{
	uint64_t base = *(const uint64_t *)field_in(o, object);

	if (base)
		fprintf(f, "0x%" PRIx64, base);
	else
		fputs("auto", f);
}

static int parse_list(struct ids *ids, enum ids_kind kind, const char *text, struct value_error *err)
{
	if (*text)
		return ids_append(ids, kind, text, err);
	ids_free(ids);
	return 0;
}

static int parse_users(const struct config_option *o, const char *text, void *object, struct value_error *err)
{
	return parse_list(field_of(o, object), IDS_USERS, text, err);
}

static int parse_groups(const struct config_option *o, const char *text, void *object,
			struct value_error *err)
{
	return parse_list(field_of(o, object), IDS_GROUPS, text, err);
}

static void print_ids(const struct config_option *o, const void *object, FILE *f)
{
	ids_print(field_in(o, object), f);
}

#define DAEMON(field) .section = CONFIG_DAEMON, .offset = offsetof(struct config, field)
#define HEAP(field)   .section = CONFIG_HEAP, .offset = offsetof(struct config_heap, field)

static const struct config_option options[] = {
	{ DAEMON(socket), .key = "Socket", .standard = "/run/heapd/heapd.sock",
	  .example = "/run/heapd/heapd.sock", .parse = parse_path, .print = print_path,
	  .max = sizeof(((struct config *)NULL)->socket) },
	{ DAEMON(socket_mode), .key = "SocketMode", .standard = "0666", .example = "0660",
	  .parse = parse_mode, .print = print_mode },
	{ DAEMON(log_level), .key = "LogLevel", .standard = "info", .example = "notice", .parse = parse_word,
	  .print = print_word, .words = level_words },
	{ DAEMON(log_target), .key = "LogTarget", .standard = "auto", .example = "journal",
	  .parse = parse_word, .print = print_word, .words = target_words },
	{ DAEMON(max_sessions), .key = "MaxSessions", .standard = "1024", .example = "1024",
	  .parse = parse_count, .print = print_count, .min = 1, .max = 65536 },
	{ DAEMON(max_sessions_per_uid), .key = "MaxSessionsPerUser", .standard = "256", .example = "256",
	  .parse = parse_count, .print = print_count, .min = 1, .max = 65536 },
	{ HEAP(size), .key = "Size", .standard = "16G", .example = "512M", .parse = parse_size,
	  .print = print_size, .min = HEAPD_SIZE_MIN, .max = HEAPD_SIZE_MAX },
	{ HEAP(limit), .key = "Limit", .standard = "50%", .example = "512M", .parse = parse_limit,
	  .print = print_limit, .min = HEAPD_CHUNK_SIZE, .max = HEAPD_SIZE_MAX },
	{ HEAP(base), .key = "Base", .standard = "auto", .example = "0x110000000000", .parse = parse_base,
	  .print = print_base, .min = HEAPD_BASE_MIN, .max = HEAPD_BASE_MAX },
	{ HEAP(huge), .key = "HugePages", .standard = "auto", .example = "never", .parse = parse_word,
	  .print = print_word, .words = huge_words },
	{ HEAP(allow.users), .key = "AllowUsers", .standard = "", .example = "alice 1001",
	  .parse = parse_users, .print = print_ids, .is_list = true },
	{ HEAP(allow.groups), .key = "AllowGroups", .standard = "", .example = "staff", .parse = parse_groups,
	  .print = print_ids, .is_list = true },
	{ HEAP(readonly.users), .key = "ReadOnlyUsers", .standard = "", .example = "*", .parse = parse_users,
	  .print = print_ids, .is_list = true },
	{ HEAP(readonly.groups), .key = "ReadOnlyGroups", .standard = "", .example = "adm",
	  .parse = parse_groups, .print = print_ids, .is_list = true },
};

#define NOPTIONS (sizeof(options) / sizeof(options[0]))
_Static_assert(NOPTIONS <= CONFIG_OPTIONS_MAX, "each option has a place");

const struct config_option *config_option_at(size_t i)
{
	return i < NOPTIONS ? &options[i] : NULL;
}

static int set_defaults(enum config_section section, void *object)
{
	for (size_t i = 0; i < NOPTIONS; i++) {
		struct value_error ignored;
		int r;

		if (options[i].section != section)
			continue;
		r = options[i].parse(&options[i], options[i].standard, object, &ignored);
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

int config_dump(const struct config *cfg, FILE *f)
{
	fputs("[Daemon]\n", f);
	for (size_t h = 0; h <= cfg->nheaps; h++) {
		enum config_section section = h ? CONFIG_HEAP : CONFIG_DAEMON;
		const void *object = h ? (const void *)&cfg->heaps[h - 1] : cfg;

		if (h)
			fprintf(f, "\n[Heap %s]\n", cfg->heaps[h - 1].name);
		for (size_t i = 0; i < NOPTIONS; i++) {
			if (options[i].section != section)
				continue;
			fprintf(f, "%s=", options[i].key);
			options[i].print(&options[i], object, f);
			fputc('\n', f);
		}
	}
	return ferror(f) ? -EIO : 0;
}
