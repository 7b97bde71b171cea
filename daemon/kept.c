/* SPDX-License-Identifier: MIT */
/*
 * kept.c - owns the descriptors that a daemon without systemd has stored, and hands them to the next one.
 *
 * Right because it allocates nothing in proportion to what a client does but one name for each of them.
 */
#include "kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct kept_item {
	char *name;
	int fd;
};

void kept_add(struct kept *kept, const char *name, int fd)
{
	struct kept_item *grown = kept->items;
	char *copy;

	if (kept->n == kept->most) {
		log_warning(kept->log, "the store is full: '%s' is not kept", name);
		close(fd);
		return;
	}
	if (kept->n == kept->room) {
		grown = reallocarray(kept->items, 2 * kept->room + 16, sizeof(*grown));
		if (grown) {
			kept->items = grown;
			kept->room = 2 * kept->room + 16;
		}
	}
	copy = grown ? strdup(name) : NULL;
	if (!copy) {
		log_err(kept->log, "out of memory: '%s' is not kept", name);
		close(fd);
		return;
	}
	kept->items[kept->n++] = (struct kept_item){ copy, fd };
}

void kept_remove(struct kept *kept, const char *name)
{
	for (size_t i = kept->n; i-- > 0;) {
		struct kept_item item = kept->items[i];

		if (strcmp(item.name, name) != 0)
			continue;
		kept->items[i] = kept->items[--kept->n];
		close(item.fd);
		free(item.name);
	}
}

void kept_free(struct kept *kept)
{
	for (size_t i = 0; i < kept->n; i++) {
		close(kept->items[i].fd);
		free(kept->items[i].name);
	}
	free(kept->items);
}

/* In the child. Each is moved above where all have to go first: the places may be those of others of them. */
int kept_pass(const struct kept *kept, int listening)
{
	int n = (int)kept->n + 1, r = 0, *copies = calloc((size_t)n, sizeof(*copies));

	if (!copies)
		return -ENOMEM;
	for (int i = 0; r >= 0 && i < n; i++)
		r = copies[i] =
			fcntl(i ? kept->items[i - 1].fd : listening, F_DUPFD_CLOEXEC, KEPT_FIRST_FD + n);
	for (int i = 0; r >= 0 && i < n; i++)
		r = dup2(copies[i], KEPT_FIRST_FD + i);
	free(copies);
	return r < 0 ? -errno : 0;
}

char *kept_names(const struct kept *kept, const char *listening)
{
	size_t size = strlen(listening) + 1, at;
	char *names;

	for (size_t i = 0; i < kept->n; i++)
		size += strlen(kept->items[i].name) + 1;
	names = malloc(size);
	if (!names)
		return NULL;
	at = (size_t)sprintf(names, "%s", listening);
	for (size_t i = 0; i < kept->n; i++)
		at += (size_t)sprintf(names + at, ":%s", kept->items[i].name);
	return names;
}
