/* SPDX-License-Identifier: MIT */
/*
 * ids.c - owns lists of user or group numbers and how names become numbers.
 *
 * Names are looked up once, when a file is loaded, since a lookup may ask the network. Right because a list
 * changes only when every word of a text was understood: words are gathered in a second list first.
 */
#include "ids.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define LOOKUP_BYTES_MAX ((size_t)1024 * 1024)

/* These mean "no such entry" in one libc or another, see getpwnam(3). */
static bool means_unknown(int error)
{
	return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

static int lookup_user(const char *name, char *buffer, size_t size, uint32_t *out)
{
	struct passwd entry, *found = NULL;
	int error = getpwnam_r(name, &entry, buffer, size, &found);

	if (!found)
		return means_unknown(error) ? -ENOENT : -error;
	*out = entry.pw_uid;
	return 0;
}

static int lookup_group(const char *name, char *buffer, size_t size, uint32_t *out)
{
	struct group entry, *found = NULL;
	int error = getgrnam_r(name, &entry, buffer, size, &found);

	if (!found)
		return means_unknown(error) ? -ENOENT : -error;
	*out = entry.gr_gid;
	return 0;
}

/* An entry may be of any length (a group's members), so the buffer grows until it fits. */
static int lookup_name(const char *name, enum ids_kind kind, uint32_t *out)
{
	char *buffer = NULL;
	int r = -ERANGE;

	for (size_t size = 4096; r == -ERANGE && size <= LOOKUP_BYTES_MAX; size *= 4) {
		free(buffer);
		buffer = malloc(size);
		if (!buffer)
			return -ENOMEM;
		r = kind == IDS_USERS ? lookup_user(name, buffer, size, out)
				      : lookup_group(name, buffer, size, out);
	}
	free(buffer);
	return r;
}

/* -1 is "no one" to chown() and setresuid(). */
static int parse_number(const char *word, uint32_t *out)
{
	struct value_error ignored;
	unsigned value;

	if (value_count(word, 0, UINT32_MAX - 1, &value, &ignored) < 0)
		return -ENOENT;
	*out = value;
	return 0;
}

static int find_id(const char *word, enum ids_kind kind, uint32_t *out)
{
	if (word[strspn(word, "0123456789")] == '\0')
		return parse_number(word, out);
	return lookup_name(word, kind, out);
}

static int push_id(struct ids *ids, uint32_t id)
{
	uint32_t *grown;

	if (ids_has(&(struct ids){ .id = ids->id, .n = ids->n }, id))
		return 0;
	grown = reallocarray(ids->id, ids->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	ids->id = grown;
	ids->id[ids->n++] = id;
	return 0;
}

static void complain(struct value_error *err, const char *word, enum ids_kind kind, int error)
{
	const char *noun = kind == IDS_USERS ? "user" : "group";
	size_t n = strlen(err->text), room = sizeof(err->text) - n;
	const char *joint = n ? "; " : "";

	if (error == -ENOENT)
		snprintf(err->text + n, room, "%sthere is no %s '%.48s'", joint, noun, word);
	else
		snprintf(err->text + n, room, "%s%s '%.48s' could not be looked up: %s", joint, noun, word,
			 strerrordesc_np(-error));
}

static int append_word(struct ids *ids, enum ids_kind kind, const char *word, struct value_error *err)
{
	uint32_t id = 0;
	int r;

	if (strcmp(word, "*") == 0) {
		ids->all = true;
		return 0;
	}
	r = find_id(word, kind, &id);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		complain(err, word, kind, r);
		return -EINVAL;
	}
	return push_id(ids, id);
}

static int copy_list(struct ids *to, const struct ids *from)
{
	*to = (struct ids){ .all = from->all };
	for (size_t i = 0; i < from->n; i++) {
		int r = push_id(to, from->id[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

int ids_append(struct ids *ids, enum ids_kind kind, const char *text, struct value_error *err)
{
	char *copy = NULL, *rest = NULL;
	struct ids grown;
	int r;

	err->text[0] = '\0';
	r = copy_list(&grown, ids);
	copy = strdup(text);
	if (!copy)
		r = -ENOMEM;
	if (r < 0)
		goto out;
	for (char *word = strtok_r(copy, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
		int one = append_word(&grown, kind, word, err);

		r = one < 0 ? one : r;
		if (r == -ENOMEM)
			goto out;
	}
	if (r == 0) {
		struct ids old = *ids;

		*ids = grown;
		grown = old;
	}
out:
	ids_free(&grown);
	free(copy);
	return r;
}

bool ids_has(const struct ids *ids, uint32_t id)
{
	for (size_t i = 0; i < ids->n; i++) {
		if (ids->id[i] == id)
			return true;
	}
	return ids->all;
}

void ids_print(const struct ids *ids, FILE *f)
{
	if (ids->all) {
		fputs("*", f);
		return;
	}
	for (size_t i = 0; i < ids->n; i++)
		fprintf(f, "%s%" PRIu32, i ? " " : "", ids->id[i]);
}

void ids_free(struct ids *ids)
{
	free(ids->id);
	*ids = (struct ids){ 0 };
}
