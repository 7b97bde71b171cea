/* SPDX-License-Identifier: MIT */
/* cover.c - owns the files of what was covered, and of what there is to cover: addresses in the library, in hexadecimal, one a line. */
#include "cover.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>

void cover_read(const struct text *text, const char *path)
{
	FILE *file = fopen(path, "re");
	uint64_t at;

	while (file && fscanf(file, "%" SCNx64, &at) == 1) {
		struct instruction *in = text_find(text, at + text->bias);

		if (in)
			in->covered = true;
	}
	if (file)
		fclose(file);
}

static bool is_covered(const struct instruction *in)
{
	return in->covered;
}

static bool is_store(const struct instruction *in)
{
	return in->writes;
}

static void write_those(const struct text *text, bool (*is_one)(const struct instruction *in),
			const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		err(1, "%s", path);
	for (size_t i = 0; i < text->ninstructions; i++)
		if (is_one(&text->instructions[i]))
			fprintf(file, "%" PRIx64 "\n", text->instructions[i].at - text->bias);
	if (fclose(file) != 0)
		err(1, "%s", path);
}

void cover_write(const struct text *text, const char *path)
{
	write_those(text, is_covered, path);
}

void cover_stores(const struct text *text, const char *path)
{
	write_those(text, is_store, path);
}
