/* SPDX-License-Identifier: MIT */
/*
 * text.h - the instructions of a program or library: where they begin, whose they are, which lie in restartable
 * sequences, and which of them somebody was killed at.
 *
 * Made from objdump's listing, so that what counts as an instruction is not this harness's own opinion.
 */
#ifndef HEAPD_CRASH_TEXT_H
#define HEAPD_CRASH_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_EXITS 4 /* as many as there are debug registers */

struct instruction {
	uint64_t at;     /* address in this process */
	uint64_t target; /* of a jump; else 0 */
	uint32_t symbol;
	bool padding; /* does nothing, and is only jumped over */
	bool writes;  /* to memory other than the stack */
	bool swaps;   /* if what stands there is what was expected */
	bool come_to; /* on some operation's way: ... */
	uint8_t barrier;
	const void *operation; /* ... the first of them */
	bool covered;
};

struct symbol {
	char name[96];
	uint64_t at;
};

/* A restartable sequence. */
struct sequence {
	uint64_t start, end, abort; /* end: just behind the commit */
	uint64_t exits[TEXT_EXITS];
	size_t nexits;
};

struct text {
	uint64_t bias; /* of addresses here to those in the file */
	char path[256];
	struct instruction *instructions; /* by address */
	size_t ninstructions;
	struct symbol *symbols;
	size_t nsymbols;
	struct sequence *sequences;
	size_t nsequences;
};

/* Of the object loaded in this process that contains the address; its sequences are read from memory. */
void text_load(struct text *text, const void *inside);
/* Of another file; its sequences are not known. */
void text_load_file(struct text *text, const char *path, uint64_t bias);
void text_free(struct text *text);

/* NULL: no instruction begins there. */
struct instruction *text_find(const struct text *text, uint64_t address);
/* The sequence that the address is inside of, its first instruction included; NULL: none. */
const struct sequence *text_sequence(const struct text *text, uint64_t address);
/* "heapd_free+0x12", in room of the caller's. */
const char *text_name(const struct text *text, uint64_t address, char *room, size_t size);
/* Whether the address is one of its instructions', somewhere between the first and the last; and such a one's name. */
bool text_holds(const struct text *text, uint64_t address);
const char *text_within(const struct text *text, uint64_t address, char *room, size_t size);

#endif
