/* SPDX-License-Identifier: MIT */
/*
 * sound.c - owns the question whether anything reachable was taken away and given to somebody else.
 *
 * Whatever a reader comes to along the pointers must be what was put there, at any time and however old: a word
 * has the hash that its letters have, and lies in that hash's chain; places ascend; each posting leads to an
 * attempt, and that to a file that stands in the table under its number. An object that had been collected too early
 * and used for something else would break one of these.
 */
#include "sound.h"

#include <errno.h>

#include "say.h"
#include "words.h"

static bool term_is_sound(const struct term *term, const struct buckets *buckets, uint64_t bucket)
{
	return term->length >= WORD_MIN && term->length <= WORD_MAX &&
	       term->hash == word_hash(term->text, term->length) && (term->hash & buckets->mask) == bucket;
}

static bool places_ascend(const struct posting *posting)
{
	for (uint32_t i = 1; i < posting->count; i++) {
		if (posting->offsets[i] <= posting->offsets[i - 1])
			return false;
	}
	return posting->count > 0;
}

static bool posting_is_sound(const struct posting *posting, const struct table *table)
{
	const struct attempt *attempt = posting->attempt;
	const struct file *file = attempt ? heapd_load(&attempt->file) : NULL;

	return file && attempt->round >= 1 && file->number < table->nfiles &&
	       table->files[file->number] == file && places_ascend(posting);
}

static int check_term(const struct index *index, const struct term *term, uint64_t bucket)
{
	if (!term_is_sound(term, index->buckets, bucket)) {
		say_error(0, "chain %llu has a word that is none, at %p", (unsigned long long)bucket,
			  (const void *)term);
		return -EILSEQ;
	}
	for (struct posting *p = heapd_load(&term->postings); p; p = heapd_load(&p->next)) {
		if (posting_is_sound(p, index->table))
			continue;
		say_error(0, "the word \"%.*s\" has a posting that is none, at %p", (int)term->length,
			  term->text, (const void *)p);
		return -EILSEQ;
	}
	return 0;
}

int sound_index(const struct index *index)
{
	const struct buckets *buckets = index->buckets;
	int r = 0;

	for (uint64_t i = 0; i <= buckets->mask && r == 0; i++) {
		struct term *term = heapd_load(&buckets->heads[i]);

		for (; term && r == 0; term = heapd_load(&term->next))
			r = check_term(index, term, i);
	}
	return r;
}
