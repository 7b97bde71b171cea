/* SPDX-License-Identifier: MIT */
/*
 * configset.c - owns how an option is found by its name, what is said of unknown names, and overrides.
 *
 * Right because a name is compared with the table's rows alone, and a heap that an override made is taken
 * back if the override fails.
 */
#include "configset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *section_title(enum config_section section)
{
	return section == CONFIG_DAEMON ? "[Daemon]" : "[Heap NAME]";
}

bool config_is_heap_name(const char *name)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char further[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t n = strlen(name);

	return n >= 1 && n < HEAPD_NAME_MAX && strchr(first, name[0]) && strspn(name, further) == n;
}

const struct config_option *config_find_option(enum config_section section, const char *key,
					       config_key_compare compare)
{
	const struct config_option *o;

	for (size_t i = 0; (o = config_option_at(i)); i++) {
		if (o->section == section && compare(o->key, key) == 0)
			return o;
	}
	return NULL;
}

/* A slip is at most a third of the word, and not more than three letters. */
static const struct config_option *nearest_option(enum config_section section, const char *key)
{
	const struct config_option *o, *best = NULL;
	size_t limit = strlen(key) / 3 < 3 ? strlen(key) / 3 : 3;

	for (size_t i = 0; (o = config_option_at(i)); i++) {
		size_t distance = o->section == section ? value_distance(o->key, key) : SIZE_MAX;

		if (distance <= limit) {
			best = o;
			limit = distance ? distance - 1 : 0;
		}
	}
	return best;
}

static void list_keys(enum config_section section, char *out, size_t size)
{
	const struct config_option *o;
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; (o = config_option_at(i)); i++) {
		if (o->section == section && n < size)
			n += (size_t)snprintf(out + n, size - n, "%s%s=", n ? ", " : "", o->key);
	}
}

void config_describe_unknown(enum config_section section, const char *key, char *out, size_t size)
{
	enum config_section other = section == CONFIG_DAEMON ? CONFIG_HEAP : CONFIG_DAEMON;
	const struct config_option *near = nearest_option(section, key);
	char list[256];

	if (config_find_option(other, key, strcmp)) {
		snprintf(out, size, "belongs under %s, not under %s", section_title(other),
			 section_title(section));
	} else if (near) {
		snprintf(out, size, "unknown key in %s; did you mean %s=?", section_title(section),
			 near->key);
	} else {
		list_keys(section, list, sizeof(list));
		snprintf(out, size, "unknown key in %s; there are %s", section_title(section), list);
	}
}

int config_keep_name(struct config *cfg, const char *path, const char **out)
{
	char **files = reallocarray(cfg->files, cfg->nfiles + 1, sizeof(*files)), *copy;

	if (!files)
		return -ENOMEM;
	cfg->files = files;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	cfg->files[cfg->nfiles++] = copy;
	*out = copy;
	return 0;
}

static int override_fail(struct config_error *err, const char *name, const char *text)
{
	snprintf(err->text, sizeof(err->text), "%.120s: %.600s", name, text);
	return -EINVAL;
}

/* The place of a command line's options, so that a conflict with a file's is told as what it is. */
static int override_option(struct config *cfg, enum config_section section, int heap, const char *name,
			   const char *key, const char *value, struct config_error *err)
{
	void *object = section == CONFIG_DAEMON ? (void *)cfg : &cfg->heaps[heap];
	struct config_place *set = section == CONFIG_DAEMON ? cfg->set : cfg->heaps[heap].set;
	const struct config_option *o = config_find_option(section, key, strcasecmp);
	const char *place;
	char what[320];
	int r;

	if (!o) {
		config_describe_unknown(section, key, what, sizeof(what));
		return override_fail(err, name, what);
	}
	r = config_keep_name(cfg, "--set", &place);
	if (r == 0)
		r = config_assign(o, name, value, object, err);
	if (r == 0)
		set[config_option_index(o)] = (struct config_place){ .file = place };
	return r;
}

static int override_heap(struct config *cfg, const char *heap, const char *name, const char *key,
			 const char *value, struct config_error *err)
{
	size_t before = cfg->nheaps;
	int i, r;

	if (!config_is_heap_name(heap))
		return override_fail(err, name, CONFIG_HEAP_NAME_RULE " (e.g. heap.demo.size=512M)");
	i = config_make_heap(cfg, heap);
	if (i == -E2BIG)
		return override_fail(err, name, "too many heaps");
	if (i < 0)
		return i;
	r = override_option(cfg, CONFIG_HEAP, i, name, key, value, err);
	if (r < 0 && cfg->nheaps > before)
		config_drop_last_heap(cfg);
	return r;
}

static void trim(char *text)
{
	size_t n = strlen(text);

	while (n > 0 && strchr(" \t", text[n - 1]))
		n--;
	text[n] = '\0';
}

/* Cuts "heap.a.b.size" into "a.b" and "size"; the parts lie in name, which it changes. */
static int override_named(struct config *cfg, const char *name, char *parts, const char *value,
			  struct config_error *err)
{
	char *dot = strrchr(parts, '.');

	if (strncasecmp(parts, "daemon.", 7) == 0)
		return override_option(cfg, CONFIG_DAEMON, 0, name, parts + 7, value, err);
	if (strncasecmp(parts, "heap.", 5) != 0 || dot < parts + 5)
		return override_fail(err, name, "unknown; write daemon.KEY=VALUE or heap.NAME.KEY=VALUE");
	*dot = '\0';
	return override_heap(cfg, parts + 5, name, dot + 1, value, err);
}

int config_override(struct config *cfg, const char *assignment, struct config_error *err)
{
	char *name = strdup(assignment), *parts = NULL, *equals;
	int r = -ENOMEM;

	if (!name)
		goto out;
	equals = strchr(name, '=');
	if (!equals) {
		r = override_fail(err, name, "no '='; write daemon.KEY=VALUE or heap.NAME.KEY=VALUE");
		goto out;
	}
	*equals++ = '\0';
	equals += strspn(equals, " \t");
	trim(equals);
	trim(name);
	parts = strdup(name);
	if (!parts)
		goto out;
	r = override_named(cfg, name, parts, equals, err);
out:
	free(parts);
	free(name);
	return r;
}
