/* SPDX-License-Identifier: MIT */
/*
 * text.c - owns what is known of a file's instructions.
 *
 * Right because objdump is asked, for instructions, and the section of the sequences' descriptors, as the kernel will
 * read it, for sequences.
 */
#include "text.h"

#include <dlfcn.h>
#include <err.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct descriptor {
	uint32_t version, flags;
	uint64_t start, length, abort;
};

static void *grow(void *array, size_t n, size_t size)
{
	/* Powers of two, from 256 on. */
	if (n & (n - 1) || (n && n < 256))
		return array;
	array = realloc(array, (n ? 2 * n : 256) * size);
	if (!array)
		err(1, "realloc");
	return array;
}

static void add_symbol(struct text *text, uint64_t at, const char *name)
{
	struct symbol *s;

	text->symbols = grow(text->symbols, text->nsymbols, sizeof(*text->symbols));
	s = &text->symbols[text->nsymbols++];
	*s = (struct symbol){ .at = at };
	snprintf(s->name, sizeof(s->name), "%.*s", (int)strcspn(name, ">"), name);
}

/* "mov %rax,0x8(%rdi)": the last operand is memory, and the instruction is none that only reads it. */
static bool writes_memory(const char *what)
{
	static const char *const readers[] = { "cmp",      "test", "bt ",  "btq", "btl",   "j",
					       "call",     "push", "nop",  "lea", "ucomi", "comi",
					       "prefetch", "ret",  "imul", "div", "idiv",  "mul" };
	const char *last = strrchr(what, '(');
	const char *close = strrchr(what, ')');

	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
		if (strncmp(what, readers[i], strlen(readers[i])) == 0)
			return false;
	if (strncmp(what, "rep", 3) == 0 || strncmp(what, "stos", 4) == 0)
		return true;
	if (!last || !close || strstr(last, "%rsp") || strstr(last, "%rip"))
		return false;
	/* Memory as the last operand: nothing follows but a comment. */
	close++;
	while (*close == ' ' || *close == '\n')
		close++;
	return *close == '\0' || *close == '#';
}

static bool is_padding(const char *what)
{
	return strstr(what, "nop") || strncmp(what, "xchg   %ax,%ax", 14) == 0 ||
	       strncmp(what, "data16", 6) == 0 || strncmp(what, "int3", 4) == 0;
}

static void add_instruction(struct text *text, uint64_t at, const char *what)
{
	struct instruction *in;
	unsigned long long target;

	if (!text->nsymbols)
		return;
	text->instructions = grow(text->instructions, text->ninstructions, sizeof(*text->instructions));
	in = &text->instructions[text->ninstructions++];
	*in = (struct instruction){ .at = at, .symbol = (uint32_t)text->nsymbols - 1 };
	in->padding = is_padding(what);
	in->writes = !in->padding && writes_memory(what);
	in->swaps = strstr(what, "cmpxchg") != NULL;
	if (*what == 'j' && sscanf(what, "%*s %llx", &target) == 1)
		in->target = target + text->bias;
}

static void read_line(struct text *text, const char *line, uint64_t section[2])
{
	unsigned long long at, size;
	int end = 0;

	if (sscanf(line, " %*d __rseq_cs %llx %llx", &size, &at) == 2) {
		section[0] = at + text->bias;
		section[1] = size;
	} else if (sscanf(line, "%16llx <%n", &at, &end) == 1 && end) {
		add_symbol(text, at + text->bias, line + end);
	} else if (sscanf(line, " %llx:\t%n", &at, &end) == 1 && end) {
		add_instruction(text, at + text->bias, line + end);
	}
}

static void read_listing(struct text *text, uint64_t section[2])
{
	char command[512], *line = NULL;
	size_t room = 0;
	FILE *listing;

	snprintf(command, sizeof(command), "objdump -h -d --no-show-raw-insn '%s'", text->path);
	listing = popen(command, "re");
	if (!listing)
		err(1, "objdump");
	while (getline(&line, &room, listing) > 0)
		read_line(text, line, section);
	free(line);
	if (pclose(listing) != 0 || !text->ninstructions)
		errx(1, "objdump %s: no instructions", text->path);
}

static void add_exit(struct sequence *s, uint64_t at)
{
	for (size_t i = 0; i < s->nexits; i++)
		if (s->exits[i] == at)
			return;
	if (s->nexits == TEXT_EXITS)
		errx(1, "the sequence at 0x%llx has more exits than there are debug registers",
		     (unsigned long long)s->start);
	s->exits[s->nexits++] = at;
}

static void read_sequence(struct text *text, const struct descriptor *d)
{
	struct sequence *s;

	text->sequences = grow(text->sequences, text->nsequences, sizeof(*text->sequences));
	s = &text->sequences[text->nsequences++];
	*s = (struct sequence){ .start = d->start, .end = d->start + d->length, .abort = d->abort };
	add_exit(s, s->end);
	for (size_t i = 0; i < text->ninstructions; i++) {
		const struct instruction *in = &text->instructions[i];

		if (in->at >= s->start && in->at < s->end && in->target &&
		    (in->target < s->start || in->target >= s->end))
			add_exit(s, in->target);
	}
}

void text_load_file(struct text *text, const char *path, uint64_t bias)
{
	uint64_t section[2] = { 0, 0 };

	*text = (struct text){ .bias = bias };
	snprintf(text->path, sizeof(text->path), "%s", path);
	read_listing(text, section);
}

/* The program has none there, and a link of this process's would be objdump's own to objdump. */
static void path_of(const struct link_map *map, char *path, size_t size)
{
	ssize_t n;

	snprintf(path, size, "%s", map->l_name);
	if (*path)
		return;
	n = readlink("/proc/self/exe", path, size - 1);
	if (n < 0)
		err(1, "/proc/self/exe");
	path[n] = '\0';
}

void text_load(struct text *text, const void *inside)
{
	uint64_t section[2] = { 0, 0 };
	const struct descriptor *d;
	struct link_map *map;
	Dl_info info;

	if (!dladdr1(inside, &info, (void **)&map, RTLD_DL_LINKMAP))
		errx(1, "no loaded file has %p", inside);
	*text = (struct text){ .bias = map->l_addr };
	path_of(map, text->path, sizeof(text->path));
	read_listing(text, section);
	d = (const struct descriptor *)(uintptr_t)section[0];
	for (uint64_t i = 0; i < section[1] / sizeof(*d); i++)
		read_sequence(text, &d[i]);
}

void text_free(struct text *text)
{
	free(text->instructions);
	free(text->symbols);
	free(text->sequences);
	*text = (struct text){ 0 };
}

struct instruction *text_find(const struct text *text, uint64_t address)
{
	size_t low = 0, high = text->ninstructions;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (text->instructions[middle].at == address)
			return &text->instructions[middle];
		if (text->instructions[middle].at < address)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

const struct sequence *text_sequence(const struct text *text, uint64_t address)
{
	for (size_t i = 0; i < text->nsequences; i++)
		if (address - text->sequences[i].start < text->sequences[i].end - text->sequences[i].start)
			return &text->sequences[i];
	return NULL;
}

const char *text_name(const struct text *text, uint64_t address, char *room, size_t size)
{
	const struct instruction *in = text_find(text, address);

	if (in)
		snprintf(room, size, "%s+0x%llx", text->symbols[in->symbol].name,
			 (unsigned long long)(address - text->symbols[in->symbol].at));
	else
		snprintf(room, size, "0x%llx", (unsigned long long)address);
	return room;
}

bool text_holds(const struct text *text, uint64_t address)
{
	return address >= text->instructions[0].at &&
	       address <= text->instructions[text->ninstructions - 1].at;
}

const char *text_within(const struct text *text, uint64_t address, char *room, size_t size)
{
	const struct symbol *s = &text->symbols[text->nsymbols - 1];

	while (s > text->symbols && s->at > address)
		s--;
	snprintf(room, size, "%s+0x%llx", s->name, (unsigned long long)(address - s->at));
	return room;
}
