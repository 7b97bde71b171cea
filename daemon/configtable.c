/* SPDX-License-Identifier: MIT */
/*
 * configtable.c - owns what heapd can be told: the options, their forms and their defaults.
 *
 * Right because there is one table, and each form's parser stands beside its printer. The object that a row's
 * functions get is the struct config or the struct config_heap that its section names.
 */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "heapd/phase.h"

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

const struct value_word config_stall_words[] = {
	{ "wait", CONFIG_STALL_WAIT },
	{ "evict", CONFIG_STALL_EVICT },
	{ NULL, 0 },
};

const struct value_word config_free_words[] = {
	{ "prompt", CONFIG_FREE_PROMPT },
	{ "checked", CONFIG_FREE_CHECKED },
	{ NULL, 0 },
};

const struct value_word config_debug_words[] = {
	{ "stress", HEAPD_DEBUG_STRESS },
	{ "poison", HEAPD_DEBUG_POISON },
	{ NULL, 0 },
};

const struct value_word config_percent_words[] = {
	{ "auto", (int)CONFIG_PERCENT_AUTO },
	{ "off", 0 },
	{ NULL, 0 },
};

static const struct value_word yes_words[] = {
	{ "no", 0 },
	{ "yes", 1 },
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
_Static_assert(sizeof(enum config_huge) == sizeof(int) && sizeof(enum log_target) == sizeof(int) &&
		       sizeof(enum config_stall) == sizeof(int) && sizeof(enum config_free) == sizeof(int),
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

static int parse_memory_limit(const struct config_option *o, const char *text, void *object,
			      struct value_error *err)
{
	struct config_heap *heap = object;
	unsigned percent = 0;
	uint64_t bytes = 0;
	int r = 0;

	if (strchr(text, '%'))
		r = value_percent(text, &percent, err);
	else if (strcmp(text, "auto") != 0)
		r = value_size(text, o->min, o->max, &bytes, err);
	if (r < 0)
		return r;
	heap->memory_limit = bytes;
	heap->memory_limit_percent = percent;
	return 0;
}

static void print_memory_limit(const struct config_option *o, const void *object, FILE *f)
{
	const struct config_heap *heap = object;

	if (heap->memory_limit)
		print_size(o, object, f);
	else if (heap->memory_limit_percent)
		fprintf(f, "%u%%", heap->memory_limit_percent);
	else
		fputs("auto", f);
}

static int parse_percent_or_off(const struct config_option *o, const char *text, void *object,
				struct value_error *err)
{
	unsigned percent = 0;
	int r = strcmp(text, "off") == 0 ? 0 : value_percent(text, &percent, err);

	if (r < 0)
		return r;
	if (percent > o->max)
		return value_fail(err, "more than %" PRIu64 "%%; write a smaller one, or off", o->max);
	*(unsigned *)field_of(o, object) = percent;
	return 0;
}

static void print_percent_or_off(const struct config_option *o, const void *object, FILE *f)
{
	unsigned percent = *(const unsigned *)field_in(o, object);

	if (percent)
		fprintf(f, "%u%%", percent);
	else
		fputs("off", f);
}

static int parse_count_or_word(const struct config_option *o, const char *text, void *object,
			       struct value_error *err)
{
	return value_count_or_word(text, o->min, o->max, o->words, field_of(o, object), err);
}

static void print_count_or_word(const struct config_option *o, const void *object, FILE *f)
{
	const char *word = value_word_text(o->words, *(const int *)field_in(o, object));

	if (word)
		fputs(word, f);
	else
		print_count(o, object, f);
}

static int parse_seconds(const struct config_option *o, const char *text, void *object,
			 struct value_error *err)
{
	return value_seconds(text, o->min, o->max, field_of(o, object), err);
}

static int parse_seconds_or_off(const struct config_option *o, const char *text, void *object,
				struct value_error *err)
{
	return value_seconds_or_off(text, o->min, o->max, field_of(o, object), err);
}

static void print_seconds(const struct config_option *o, const void *object, FILE *f)
{
	unsigned seconds = *(const unsigned *)field_in(o, object);

	fputs(seconds ? value_seconds_text(seconds).text : "off", f);
}

/* A list: the words add up, and an empty one starts anew. */
static int parse_words(const struct config_option *o, const char *text, void *object, struct value_error *err)
{
	unsigned *bits = field_of(o, object), more = 0;
	int r = value_words(text, o->words, &more, err);

	if (r == 0)
		*bits = *text ? *bits | more : 0;
	return r;
}

static void print_words(const struct config_option *o, const void *object, FILE *f)
{
	fputs(value_words_text(o->words, *(const unsigned *)field_in(o, object)).text, f);
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

/* One user or group, or nobody. */
static int parse_one(const struct config_option *o, enum ids_kind kind, const char *text, void *object,
		     struct value_error *err)
{
	struct ids ids = { 0 };
	int r = *text ? ids_append(&ids, kind, text, err) : 0;

	if (r == 0 && (ids.all || ids.n > 1))
		r = value_fail(err, "there can be but one; others go into AllowUsers= and AllowGroups=");
	if (r == 0)
		*(uint32_t *)field_of(o, object) = ids.n ? ids.id[0] : CONFIG_NOBODY;
	ids_free(&ids);
	return r;
}

static int parse_owner(const struct config_option *o, const char *text, void *object, struct value_error *err)
{
	return parse_one(o, IDS_USERS, text, object, err);
}

static int parse_group(const struct config_option *o, const char *text, void *object, struct value_error *err)
{
	return parse_one(o, IDS_GROUPS, text, object, err);
}

static void print_one(const struct config_option *o, const void *object, FILE *f)
{
	uint32_t id = *(const uint32_t *)field_in(o, object);

	if (id != CONFIG_NOBODY)
		fprintf(f, "%" PRIu32, id);
}

static int parse_bytes(const struct config_option *o, const char *text, void *object, struct value_error *err)
{
	return value_size(text, o->min, o->max, field_of(o, object), err);
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
	{ DAEMON(max_threads_per_uid), .key = "MaxThreadsPerUser", .standard = "8192", .example = "1024",
	  .parse = parse_count, .print = print_count, .min = 1, .max = 1u << 24 },
	{ DAEMON(max_bytes_per_uid), .key = "MaxBytesPerUser", .standard = "4G", .example = "512M",
	  .parse = parse_bytes, .print = print_size, .min = 1u << 20, .max = HEAPD_SIZE_MAX },
	{ DAEMON(heap_share), .key = "HeapShare", .standard = "10%", .example = "25%",
	  .parse = parse_percent_or_off, .print = print_percent_or_off, .max = CONFIG_SHARE_MAX },
	{ HEAP(size), .key = "Size", .standard = "16G", .example = "512M", .parse = parse_size,
	  .print = print_size, .min = HEAPD_SIZE_MIN, .max = HEAPD_SIZE_MAX },
	{ HEAP(limit), .key = "Limit", .standard = "50%", .example = "512M", .parse = parse_limit,
	  .print = print_limit, .min = HEAPD_CHUNK_SIZE, .max = HEAPD_SIZE_MAX },
	{ HEAP(user_share), .key = "UserShare", .standard = "10%", .example = "25%",
	  .parse = parse_percent_or_off, .print = print_percent_or_off, .max = CONFIG_SHARE_MAX },
	{ HEAP(base), .key = "Base", .standard = "auto", .example = "0x110000000000", .parse = parse_base,
	  .print = print_base, .min = HEAPD_BASE_MIN, .max = HEAPD_BASE_MAX },
	{ HEAP(huge), .key = "HugePages", .standard = "auto", .example = "never", .parse = parse_word,
	  .print = print_word, .words = huge_words },
	{ HEAP(gc_percent), .key = "GCPercent", .standard = "auto", .example = "50",
	  .parse = parse_count_or_word, .print = print_count_or_word, .words = config_percent_words, .min = 1,
	  .max = CONFIG_PERCENT_MAX },
	{ HEAP(memory_limit), .key = "MemoryLimit", .standard = "auto", .example = "75%",
	  .parse = parse_memory_limit, .print = print_memory_limit, .min = HEAPD_CHUNK_SIZE,
	  .max = HEAPD_SIZE_MAX },
	{ HEAP(gc_interval), .key = "GCInterval", .standard = "2min", .example = "30s",
	  .parse = parse_seconds_or_off, .print = print_seconds, .min = 1, .max = CONFIG_SECONDS_MAX },
	{ HEAP(stall_timeout), .key = "StallTimeout", .standard = "10s", .example = "1min",
	  .parse = parse_seconds, .print = print_seconds, .min = 1, .max = CONFIG_SECONDS_MAX },
	{ HEAP(stall_action), .key = "StallAction", .standard = "wait", .example = "evict",
	  .parse = parse_word, .print = print_word, .words = config_stall_words },
	{ HEAP(marker_threads), .key = "MarkerThreads", .standard = "1", .example = "2", .parse = parse_count,
	  .print = print_count, .min = 1, .max = CONFIG_MARKERS_MAX },
	{ HEAP(free_mode), .key = "Free", .standard = "prompt", .example = "checked", .parse = parse_word,
	  .print = print_word, .words = config_free_words },
	{ HEAP(debug), .key = "Debug", .standard = "", .example = "stress poison", .parse = parse_words,
	  .print = print_words, .words = config_debug_words, .is_list = true },
	{ HEAP(hardened), .key = "Hardened", .standard = "no", .example = "yes", .parse = parse_word,
	  .print = print_word, .words = yes_words },
	{ HEAP(owner), .key = "Owner", .standard = "", .example = "alice", .parse = parse_owner,
	  .print = print_one },
	{ HEAP(group), .key = "Group", .standard = "", .example = "staff", .parse = parse_group,
	  .print = print_one },
	{ HEAP(mode), .key = "Mode", .standard = "0700", .example = "0740", .parse = parse_mode,
	  .print = print_mode },
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
