/* SPDX-License-Identifier: MIT */
/*
 * tally.h - the words of one file, each with all its places, in a worker's private memory.
 */
#pragma once

#include "words.h"

/* One word and the chain of its places, in the order of the text. */
struct tally_word {
	struct word word; /* its text lies in the file's text */
	uint32_t count;
	uint32_t first, last; /* in struct tally's places */
};

struct tally_place {
	uint32_t offset; /* in the file */
	uint32_t next;   /* the same word's next place */
};

struct tally {
	struct tally_word *words; /* in the order of their first places */
	struct tally_place *places;
	uint32_t *slots; /* hash table, open: 0, or 1 + the number of a word */
	uint32_t nwords, nplaces, nslots;
	uint32_t words_room, places_room, slots_room;
};

/* Counts a text of less than 4 GiB; what was counted before is forgotten, the memory is used again. */
int tally_count(struct tally *tally, const char *text, size_t size);
void tally_free(struct tally *tally);
