/* SPDX-License-Identifier: MIT */
/*
 * tally.c - owns how a worker gathers one file's words before anybody else sees any of them.
 *
 * All of it is malloc memory of one process: a worker that is killed here has touched nothing shared. No
 * pointer into the heap is kept in it, since neither daemon nor collector looks into malloc memory.
 */
#include "tally.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_FIRST 1024u

/* The array with room for one more; a file of less than 4 GiB has less than 2^31 words. */
static void *grow(void *array, uint32_t *room, uint32_t used, size_t size)
{
	uint32_t more = *room ? *room * 2 : 1024;

	if (used < *room)
		return array;
	array = reallocarray(array, more, size);
	if (array)
		*room = more;
	return array;
}

/* Empty slots; kept small for small files, since each file begins with clearing them. */
static int set_slots(struct tally *tally, uint32_t nslots)
{
	if (tally->slots_room < nslots) {
		uint32_t *slots = reallocarray(tally->slots, nslots, sizeof(*slots));

		if (!slots)
			return -ENOMEM;
		tally->slots = slots;
		tally->slots_room = nslots;
	}
	tally->nslots = nslots;
	memset(tally->slots, 0, nslots * sizeof(*tally->slots));
	return 0;
}

/* The slot of this word, or the empty one where it belongs. */
static uint32_t *find_slot(struct tally *tally, const struct word *word)
{
	for (uint32_t i = word->hash;; i++) {
		uint32_t *slot = &tally->slots[i & (tally->nslots - 1)];
		const struct word *there = *slot ? &tally->words[*slot - 1].word : NULL;

		if (!there)
			return slot;
		if (there->hash == word->hash && there->length == word->length &&
		    memcmp(there->text, word->text, word->length) == 0)
			return slot;
	}
}

static int double_slots(struct tally *tally)
{
	int r = set_slots(tally, tally->nslots * 2);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < tally->nwords; i++)
		*find_slot(tally, &tally->words[i].word) = i + 1;
	return 0;
}

static int add_word(struct tally *tally, const struct word *word, uint32_t place)
{
	struct tally_word *words = grow(tally->words, &tally->words_room, tally->nwords, sizeof(*words));
	int r;

	if (!words)
		return -ENOMEM;
	tally->words = words;
	if (tally->nwords >= tally->nslots / 2) {
		r = double_slots(tally);
		if (r < 0)
			return r;
	}
	words[tally->nwords++] =
		(struct tally_word){ .word = *word, .count = 1, .first = place, .last = place };
	*find_slot(tally, word) = tally->nwords;
	return 0;
}

static int add_place(struct tally *tally, const struct word *word, uint32_t offset)
{
	struct tally_place *places =
		grow(tally->places, &tally->places_room, tally->nplaces, sizeof(*places));
	uint32_t place = tally->nplaces, *slot;
	struct tally_word *known;

	if (!places)
		return -ENOMEM;
	tally->places = places;
	places[tally->nplaces++] = (struct tally_place){ .offset = offset };
	slot = find_slot(tally, word);
	if (!*slot)
		return add_word(tally, word, place);
	known = &tally->words[*slot - 1];
	places[known->last].next = place;
	known->last = place;
	known->count++;
	return 0;
}

int tally_count(struct tally *tally, const char *text, size_t size)
{
	struct words words = words_begin(text, size);
	struct word word;
	int r = set_slots(tally, SLOTS_FIRST);

	tally->nwords = tally->nplaces = 0;
	while (r == 0 && words_next(&words, &word))
		r = add_place(tally, &word, (uint32_t)(word.text - text));
	return r;
}

void tally_free(struct tally *tally)
{
	free(tally->words);
	free(tally->places);
	free(tally->slots);
	*tally = (struct tally){ 0 };
}
