/* SPDX-License-Identifier: MIT */
/*
 * A target without libFuzzer: replay [--seconds N] FILE|FOLDER...
 *
 * Runs each file, then for so many seconds inputs that are made of them by cutting, joining and changing bytes, as the seed
 * says. What it was at when it ended is in ./fuzz-last.PID until it ends well.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../fixture.h"
#include "inputs.h"
#include "machine.h"

#define FILES 512u

struct text {
	size_t size;
	uint8_t bytes[INPUT_ROOM];
};

struct replay {
	struct text *texts;
	unsigned n;
	uint64_t seed, runs;
	char last[64];
};

static uint64_t draw(struct replay *r)
{
	r->seed ^= r->seed << 13;
	r->seed ^= r->seed >> 7;
	r->seed ^= r->seed << 17;
	return r->seed;
}

static void load(void *arg, const char *path, const uint8_t *bytes, size_t n)
{
	struct replay *r = arg;

	(void)path;
	r->texts[r->n].size = n;
	memcpy(r->texts[r->n].bytes, bytes, n);
	if (++r->n == FILES)
		errx(1, "more than %u inputs", FILES);
}

static void run(struct replay *r, const struct text *text)
{
	FILE *file = fopen(r->last, "we");

	if (!file || fwrite(text->bytes, 1, text->size, file) != text->size || fclose(file) != 0)
		err(1, "%s", r->last);
	LLVMFuzzerTestOneInput(text->bytes, text->size);
	r->runs++;
}

static void change(struct replay *r, struct text *text)
{
	size_t at = text->size ? draw(r) % text->size : 0, n = draw(r) % 16;
	const struct text *other = &r->texts[draw(r) % r->n];

	switch (draw(r) % 4) {
	case 0:
		text->bytes[at] = (uint8_t)draw(r);
		break;
	case 1:
		text->bytes[at] ^= (uint8_t)(1u << draw(r) % 8);
		break;
	case 2:
		text->size = at;
		break;
	default:
		n = n * 8 < sizeof(text->bytes) - at ? n * 8 : sizeof(text->bytes) - at;
		memcpy(text->bytes + at, other->bytes, n < other->size ? n : other->size);
		if (at + n > text->size)
			text->size = at + n;
	}
}

static void run_changed(struct replay *r, unsigned seconds)
{
	uint64_t end = fixture_now_ns() + seconds * UINT64_C(1000000000);
	struct text *text = calloc(1, sizeof(*text));

	while (text && r->n && fixture_now_ns() < end) {
		*text = r->texts[draw(r) % r->n];
		for (unsigned i = 0, n = 1 + (unsigned)draw(r) % 16; i < n; i++)
			change(r, text);
		run(r, text);
	}
	free(text);
}

int main(int argc, char **argv)
{
	struct replay r = { .texts = calloc(FILES, sizeof(struct text)) };
	unsigned seconds = 0, first = 1;

	if (!r.texts)
		errx(1, "out of memory");
	if (argc > 2 && strcmp(argv[1], "--seconds") == 0) {
		seconds = (unsigned)atoi(argv[2]);
		first = 3;
	}
	r.seed = fixture_seed() | 1;
	snprintf(r.last, sizeof(r.last), "fuzz-last.%d", getpid());
	for (int i = (int)first; i < argc; i++)
		inputs_each(argv[i], load, &r);
	for (unsigned i = 0; i < r.n; i++)
		run(&r, &r.texts[i]);
	run_changed(&r, seconds);
	printf("%u inputs of the corpus, %lu runs\n", r.n, (unsigned long)r.runs);
	unlink(r.last);
	free(r.texts);
	return 0;
}
