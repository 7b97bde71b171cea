/* SPDX-License-Identifier: MIT */
/*
 * configset.h - finding options by their names; used by configset.c and configfile.c.
 */
#ifndef HEAPD_DAEMON_CONFIGSET_H
#define HEAPD_DAEMON_CONFIGSET_H

#include "config.h"

#define CONFIG_HEAP_NAME_RULE \
	"not a heap's name; write 1 to 47 of a-z, 0-9, '.', '_' and '-', a letter or digit first"

typedef int (*config_key_compare)(const char *a, const char *b);

bool config_is_heap_name(const char *name);
const struct config_option *config_find_option(enum config_section section, const char *key,
					       config_key_compare compare);

/* Says, after "key=: ", what may have been meant by a key that the section does not have. */
void config_describe_unknown(enum config_section section, const char *key, char *out, size_t size);

/* Copies the name of a file; the copy lives as long as the configuration, for its places. */
int config_keep_name(struct config *cfg, const char *path, const char **out);

#endif
