/* SPDX-License-Identifier: MIT */
#include "gaps.h"

#include <err.h>
#include <inttypes.h>

void gaps_read(const struct text *text, const char *path)
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

void gaps_write(const struct text *text, const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		err(1, "%s", path);
	for (size_t i = 0; i < text->ninstructions; i++)
		if (text->instructions[i].covered)
			fprintf(file, "%" PRIx64 "\n", text->instructions[i].at - text->bias);
	if (fclose(file) != 0)
		err(1, "%s", path);
}

unsigned gaps_say(const struct text *text, FILE *to)
{
	unsigned all = 0, covered = 0;

	for (size_t i = 0; i < text->ninstructions;) {
		uint32_t symbol = text->instructions[i].symbol;
		unsigned n = 0, c = 0;

		for (; i < text->ninstructions && text->instructions[i].symbol == symbol; i++) {
			n += !text->instructions[i].padding;
			c += !text->instructions[i].padding && text->instructions[i].covered;
		}
		fprintf(to, "%5u of %5u  %s\n", c, n, text->symbols[symbol].name);
		all += n;
		covered += c;
	}
	fprintf(to, "%u of %u instructions\n", covered, all);
	return 0;
}
