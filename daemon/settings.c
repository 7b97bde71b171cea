/* SPDX-License-Identifier: MIT */
/*
 * settings.c - owns the settings of a heap that clients see.
 *
 * Right because there is one table: what can be asked is listed where an unknown key is refused, and what can
 * be set is checked against what the machine has before it is in force.
 */
#include "settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collection.h"
#include "heapd/atomic.h"
#include "peer.h"

#define FOREIGN    "foreign." /* and a type's name */
#define SAMPLE_MAX (UINT64_C(1) << 40)
#define VALUE_MAX  sizeof(((struct heapd_setting *)NULL)->value)

struct key {
	const char *name;
	void (*get)(const struct heap *heap, char value[VALUE_MAX]);
	int (*set)(struct heap *heap, const char *value, struct refusal *why); /* NULL: cannot be */
};

static void say(struct heap *heap, const char *name, const char *value)
{
	log_limited(heap->log, &heap->settings_set, LOG_NOTICE, "heap '%s': %s set to %s", heap->name, name,
		    value);
}

static int change(struct heap *heap, const struct collection_settings *settings, const char *name,
		  const char *value)
{
	collection_change(heap, settings);
	say(heap, name, value);
	return 0;
}

static void number_or_off(unsigned number, char value[VALUE_MAX])
{
	if (number)
		snprintf(value, VALUE_MAX, "%u", number);
	else
		snprintf(value, VALUE_MAX, "off");
}

static void get_name(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "%s", heap->name);
}

static void get_size(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "%" PRIu64, heap->geometry.size);
}

static void get_base(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "0x%" PRIx64, heap->t.base);
}

static void get_limit(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "%" PRIu64, heap_limit(heap));
}

static int set_limit(struct heap *heap, const char *value, struct refusal *why)
{
	uint64_t most = heap->geometry.size, limit = 0;
	struct value_error error;

	if (most > heap->account->maximum)
		most = heap->account->maximum;
	if (value_size(value, HEAPD_CHUNK_SIZE, most, &limit, &error) < 0)
		return refuse(why, -EINVAL, "memory.limit: %.200s", error.text);
	heap_set_limit(heap, limit);
	collection_wake(heap);
	log_limited(heap->log, &heap->settings_set, LOG_NOTICE, "heap '%s': limit set to %s", heap->name,
		    value_size_text(limit).text);
	return 0;
}

static void get_committed(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "%" PRIu64, HEAPD_READ_ONCE(heap->t.directory->stats.committed));
}

static void get_soft_limit(const struct heap *heap, char value[VALUE_MAX])
{
	uint64_t limit = collection_settings(heap).memory_limit;

	if (limit)
		snprintf(value, VALUE_MAX, "%" PRIu64, limit);
	else
		snprintf(value, VALUE_MAX, "auto");
}

static int set_soft_limit(struct heap *heap, const char *value, struct refusal *why)
{
	struct collection_settings settings = collection_settings(heap);
	struct value_error error;

	if (strcmp(value, "auto") == 0)
		settings.memory_limit = 0;
	else if (value_size(value, HEAPD_CHUNK_SIZE, heap_limit(heap), &settings.memory_limit, &error) < 0)
		return refuse(why, -EINVAL, "memory.soft_limit: %.180s; or auto", error.text);
	return change(heap, &settings, "memory.soft_limit", value);
}

static void get_percent(const struct heap *heap, char value[VALUE_MAX])
{
	unsigned percent = collection_settings(heap).percent;
	const char *word = value_word_text(config_percent_words, (int)percent);

	if (word)
		snprintf(value, VALUE_MAX, "%s", word);
	else
		snprintf(value, VALUE_MAX, "%u", percent);
}

static int set_percent(struct heap *heap, const char *value, struct refusal *why)
{
	struct value_error error;
	unsigned percent;

	if (value_count_or_word(value, 1, CONFIG_PERCENT_MAX, config_percent_words, &percent, &error) < 0)
		return refuse(why, -EINVAL, "gc.percent: %.200s", error.text);
	if (collection_set_percent(heap, percent) < 0)
		return refuse(
			why, -EINVAL,
			"gc.percent: not off while Free=checked is in force for heap '%s'; set Free=prompt and restart heapd",
			heap->name);
	say(heap, "gc.percent", value);
	return 0;
}

static void get_interval(const struct heap *heap, char value[VALUE_MAX])
{
	number_or_off(collection_settings(heap).interval, value);
}

static int set_interval(struct heap *heap, const char *value, struct refusal *why)
{
	struct collection_settings settings = collection_settings(heap);
	struct value_error error;

	if (value_seconds_or_off(value, 1, CONFIG_SECONDS_MAX, &settings.interval, &error) < 0)
		return refuse(why, -EINVAL, "gc.interval: %.200s", error.text);
	return change(heap, &settings, "gc.interval", value);
}

static void get_stall_timeout(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "%u", collection_settings(heap).stall_timeout);
}

static int set_stall_timeout(struct heap *heap, const char *value, struct refusal *why)
{
	struct collection_settings settings = collection_settings(heap);
	struct value_error error;

	if (value_seconds(value, 1, CONFIG_SECONDS_MAX, &settings.stall_timeout, &error) < 0)
		return refuse(why, -EINVAL, "gc.stall_timeout: %.200s", error.text);
	return change(heap, &settings, "gc.stall_timeout", value);
}

static void get_stall_action(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "%s",
		 value_word_text(config_stall_words, (int)collection_settings(heap).stall_action));
}

/* What is not configured any more may have clients of any user. */
static bool may_evict(const struct heap *heap)
{
	static const struct config_heap anybody = { .allow.users.all = true };

	return config_may_evict(heap->config ? heap->config : &anybody);
}

static int set_stall_action(struct heap *heap, const char *value, struct refusal *why)
{
	struct collection_settings settings = collection_settings(heap);
	struct value_error error;
	int action;

	if (value_word(value, config_stall_words, &action, &error) < 0)
		return refuse(why, -EINVAL, "gc.stall_action: %.200s", error.text);
	if (action == CONFIG_STALL_EVICT && !may_evict(heap))
		return refuse(
			why, -EPERM,
			"gc.stall_action: heapd cannot end processes of other users; give it CAP_KILL, or use "
			"wait");
	settings.stall_action = (enum config_stall)action;
	return change(heap, &settings, "gc.stall_action", value);
}

static void get_threads(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "%u", heap->collection->threads);
}

static void get_free(const struct heap *heap, char value[VALUE_MAX])
{
	bool checked = heap->t.directory->cycle.free_mode == HEAPD_FREE_CHECKED;

	snprintf(value, VALUE_MAX, "%s",
		 value_word_text(config_free_words, checked ? CONFIG_FREE_CHECKED : CONFIG_FREE_PROMPT));
}

static void get_debug(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "%s",
		 value_words_text(config_debug_words, heap->t.directory->cycle.debug).text);
}

static void get_sample(const struct heap *heap, char value[VALUE_MAX])
{
	uint64_t bytes = heap->t.directory->sample_bytes;

	if (bytes)
		snprintf(value, VALUE_MAX, "%" PRIu64, bytes);
	else
		snprintf(value, VALUE_MAX, "off");
}

static int set_sample(struct heap *heap, const char *value, struct refusal *why)
{
	struct value_error error;
	uint64_t bytes = 0;

	if (strcmp(value, "off") != 0 && value_size(value, 1, SAMPLE_MAX, &bytes, &error) < 0)
		return refuse(why, -EINVAL, "sample.bytes: %.180s; or off", error.text);
	HEAPD_WRITE_ONCE(heap->t.directory->sample_bytes, bytes);
	say(heap, "sample.bytes", value);
	return 0;
}

static void get_sessions(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "%" PRIu64, HEAPD_READ_ONCE(heap->t.directory->stats.sessions));
}

static void get_foreign(const struct heap *heap, char value[VALUE_MAX])
{
	pthread_mutex_lock(&heap->collection->mutex);
	fields_write_all(&heap->collection->fields, heap, value, VALUE_MAX);
	pthread_mutex_unlock(&heap->collection->mutex);
}

static void get_fingerprint(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "0x%016" PRIx64, heap->t.directory->fingerprint);
}

static const struct key keys[] = {
	{ "heap.name", get_name, NULL },
	{ "heap.size", get_size, NULL },
	{ "heap.base", get_base, NULL },
	{ "memory.limit", get_limit, set_limit },
	{ "memory.soft_limit", get_soft_limit, set_soft_limit },
	{ "memory.committed", get_committed, NULL },
	{ "gc.percent", get_percent, set_percent },
	{ "gc.interval", get_interval, set_interval },
	{ "gc.stall_timeout", get_stall_timeout, set_stall_timeout },
	{ "gc.stall_action", get_stall_action, set_stall_action },
	{ "gc.threads", get_threads, NULL },
	{ "free.mode", get_free, NULL },
	{ "debug", get_debug, NULL },
	{ "foreign", get_foreign, NULL },
	{ "sample.bytes", get_sample, set_sample },
	{ "sessions.count", get_sessions, NULL },
	{ "build.fingerprint", get_fingerprint, NULL },
};

#define NKEYS (sizeof(keys) / sizeof(keys[0]))

static int refuse_unknown(const char *name, struct refusal *why)
{
	char list[320] = "";
	size_t used = 0;

	for (size_t i = 0; i < NKEYS && used < sizeof(list); i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? " " : "",
					 keys[i].name);
	return refuse(why, -ENOENT, "no setting '%s'; use one of %s", name, list);
}

static int find(const struct heapd_setting *setting, const struct key **key, struct refusal *why)
{
	int r = refuse_name(why, "setting", setting->key, sizeof(setting->key));

	if (r < 0)
		return r;
	for (size_t i = 0; i < NKEYS; i++) {
		if (strcmp(keys[i].name, setting->key) != 0)
			continue;
		*key = &keys[i];
		return 0;
	}
	return refuse_unknown(setting->key, why);
}

/* What the fields of one type held, by its name. */
static int get_foreign_type(const struct heap *heap, const char *name, struct heapd_setting *setting,
			    struct refusal *why)
{
	uint32_t n = HEAPD_LOAD_ACQUIRE(&heap->t.directory->ntypes);

	for (uint32_t type = 0; type < n; type++) {
		if (strcmp(heap->t.types[type].name, name) != 0)
			continue;
		pthread_mutex_lock(&heap->collection->mutex);
		fields_write_type(&heap->collection->fields, type, setting->value, VALUE_MAX);
		pthread_mutex_unlock(&heap->collection->mutex);
		return 0;
	}
	return refuse(why, -ENOENT, "heap '%s' has no type '%s'; use the name of one", heap->name, name);
}

int settings_get(const struct session *session, struct heapd_setting *setting, struct refusal *why)
{
	const struct key *key;
	int r;

	memset(setting->value, 0, sizeof(setting->value));
	if (strnlen(setting->key, sizeof(setting->key)) < sizeof(setting->key) &&
	    strncmp(setting->key, FOREIGN, strlen(FOREIGN)) == 0)
		return get_foreign_type(session->heap, setting->key + strlen(FOREIGN), setting, why);
	r = find(setting, &key, why);
	if (r < 0)
		return r;
	key->get(session->heap, setting->value);
	return 0;
}

int settings_set(const struct session *session, const struct heapd_setting *setting, struct refusal *why)
{
	const struct key *key;
	int r;

	r = find(setting, &key, why);
	if (r < 0)
		return r;
	if (!key->set)
		return refuse(why, -EROFS, "%s cannot be changed here; see heapd.conf(5)", key->name);
	if (!session->administers)
		return refuse(
			why, -EPERM,
			"%s cannot be changed by user %u; ask as root or the daemon's user, or be let administer heap "
			"'%s' by Mode=",
			key->name, session->uid, session->heap->name);
	if (strnlen(setting->value, sizeof(setting->value)) == sizeof(setting->value))
		return refuse(why, -EINVAL, "%s: the value is too long; give fewer bytes", key->name);
	return key->set(session->heap, setting->value, why);
}
