/* SPDX-License-Identifier: MIT */
/* inputs.c - owns how a corpus is read. The order is that of names as bytes, so it is the same everywhere. */
#include "inputs.h"

#include <dirent.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef void each(void *arg, const char *path, const uint8_t *bytes, size_t n);

static void load(const char *path, each *fn, void *arg)
{
	static uint8_t bytes[INPUT_ROOM];
	FILE *file = fopen(path, "re");
	size_t n;

	if (!file)
		err(1, "%s", path);
	n = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	fn(arg, path, bytes, n);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

void inputs_each(const char *path, each *fn, void *arg)
{
	struct dirent **names;
	struct stat st;
	int n;

	if (stat(path, &st) < 0)
		err(1, "%s", path);
	if (!S_ISDIR(st.st_mode)) {
		load(path, fn, arg);
		return;
	}
	n = scandir(path, &names, NULL, by_name);
	for (int i = 0; i < n; i++) {
		char file[512];

		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			load(file, fn, arg);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}
