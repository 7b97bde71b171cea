/* SPDX-License-Identifier: MIT */
/*
 * ids.h - lists of users or groups, as configuration files name them.
 */
#ifndef HEAPD_DAEMON_IDS_H
#define HEAPD_DAEMON_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "value.h"

/* All-zero is the empty list. */
struct ids {
	uint32_t *id;
	size_t n;
	bool all; /* "*" was named; the others then say nothing */
};

enum ids_kind { IDS_USERS, IDS_GROUPS };

/*
 * Appends what the text names: names, numbers or *, separated by white space. -EINVAL with all unknown names
 * in err, or -ENOMEM; the list is then as it was.
 */
int ids_append(struct ids *ids, enum ids_kind kind, const char *text, struct value_error *err);
bool ids_has(const struct ids *ids, uint32_t id);
void ids_print(const struct ids *ids, FILE *f);
void ids_free(struct ids *ids);

#endif
