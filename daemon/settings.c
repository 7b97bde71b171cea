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

#include "heapd/atomic.h"
#include "peer.h"

#define VALUE_MAX sizeof(((struct heapd_setting *)NULL)->value)

struct key {
	const char *name;
	void (*get)(const struct heap *heap, char value[VALUE_MAX]);
	int (*set)(struct heap *heap, const char *value, struct refusal *why); /* NULL: cannot be */
};

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
	log_limited(heap->log, &heap->limits_set, LOG_NOTICE, "heap '%s': limit set to %s", heap->name,
		    value_size_text(limit).text);
	return 0;
}

static void get_committed(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "%" PRIu64, HEAPD_READ_ONCE(heap->t.directory->stats.committed));
}

static void get_percent(const struct heap *heap, char value[VALUE_MAX])
{
	(void)heap;
	memcpy(value, "off", sizeof("off"));
}

static int set_percent(struct heap *heap, const char *value, struct refusal *why)
{
	if (strcmp(value, "off") == 0)
		return 0;
	return refuse(why, -EOPNOTSUPP, "gc.percent: collection is off for heap '%s'", heap->name);
}

static void get_sessions(const struct heap *heap, char value[VALUE_MAX])
{
	snprintf(value, VALUE_MAX, "%" PRIu64, HEAPD_READ_ONCE(heap->t.directory->stats.sessions));
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
	{ "memory.committed", get_committed, NULL },
	{ "gc.percent", get_percent, set_percent },
	{ "sessions.count", get_sessions, NULL },
	{ "build.fingerprint", get_fingerprint, NULL },
};

#define NKEYS (sizeof(keys) / sizeof(keys[0]))

static int refuse_unknown(const char *name, struct refusal *why)
{
	char list[200] = "";
	size_t used = 0;

	for (size_t i = 0; i < NKEYS && used < sizeof(list); i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? " " : "",
					 keys[i].name);
	return refuse(why, -ENOENT, "there is no setting '%s'; there are: %s", name, list);
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

int settings_get(const struct session *session, struct heapd_setting *setting, struct refusal *why)
{
	const struct key *key;
	int r;

	r = find(setting, &key, why);
	if (r < 0)
		return r;
	memset(setting->value, 0, sizeof(setting->value));
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
		return refuse(why, -EROFS, "%s cannot be changed", key->name);
	if (!peer_is_operator(session->uid))
		return refuse(why, -EPERM,
			      "%s can be changed by root and by the daemon's user, not by user %u", key->name,
			      session->uid);
	if (strnlen(setting->value, sizeof(setting->value)) == sizeof(setting->value))
		return refuse(why, -EINVAL, "%s: the value is too long", key->name);
	return key->set(session->heap, setting->value, why);
}
