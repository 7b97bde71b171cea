/* SPDX-License-Identifier: MIT */
/* For tests of the configuration: files in a folder of the test's own, what becomes of them, and what is said of them. */
#ifndef HEAPD_TESTS_CONFIGURED_H
#define HEAPD_TESTS_CONFIGURED_H

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/config.h"

static struct config cfg;
static char directory[64], path[128], said[65536];

static inline void setup(void)
{
	snprintf(directory, sizeof(directory), "/tmp/check_config.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/heapd.conf", directory);
	ck_assert_int_eq(config_init(&cfg), 0);
	said[0] = '\0';
}

static inline void remove_all(const char *where)
{
	DIR *d = opendir(where);
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		char *name = NULL;

		ck_assert_int_gt(asprintf(&name, "%s/%s", where, entry->d_name), 0);
		if (unlink(name) < 0)
			remove_all(name);
		free(name);
	}
	if (d)
		closedir(d);
	rmdir(where);
}

static inline void teardown(void)
{
	config_free(&cfg);
	remove_all(directory);
}

static inline void write_bytes(const char *name, const void *bytes, size_t length)
{
	FILE *f = fopen(name, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(bytes, 1, length, f), length);
	ck_assert_int_eq(fclose(f), 0);
}

static inline void write_drop_in(const char *name, const char *text)
{
	char drop_in[320];

	snprintf(drop_in, sizeof(drop_in), "%s.d", path);
	mkdir(drop_in, 0755);
	snprintf(drop_in, sizeof(drop_in), "%s.d/%s", path, name);
	write_bytes(drop_in, text, strlen(text));
}

/* Gathers "heapd.conf:3: err: text", the directory left out. */
static inline void gather(void *arg, int priority, const char *file, unsigned line, const char *text)
{
	size_t n = strlen(said), prefix = strlen(directory) + 1;

	(void)arg;
	if (strncmp(file, directory, prefix - 1) == 0)
		file += prefix;
	snprintf(said + n, sizeof(said) - n, "%s:%u: %s: %s\n", file, line,
		 priority == LOG_WARNING ? "warning" : "err", text);
}

static inline int load(void)
{
	return config_load(&cfg, path, true, gather, NULL);
}

static inline int load_text(const char *text)
{
	write_bytes(path, text, strlen(text));
	return load();
}

static inline void load_clean(const char *text)
{
	int r = load_text(text);

	ck_assert_str_eq(said, "");
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(config_check(&cfg, gather, NULL), 0);
	ck_assert_str_eq(said, "");
}

static inline const struct config_heap *heap(const char *name)
{
	const struct config_heap *found = config_find_heap(&cfg, name);

	ck_assert_ptr_nonnull(found);
	return found;
}

#endif
