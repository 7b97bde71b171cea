/* SPDX-License-Identifier: MIT */
/*
 * words.c - owns the decision what a word is.
 *
 * A word is what "grep -w" means by one in the C locale, and can also be a name in C: a run of letters,
 * digits and underscores that neither a letter, a digit nor an underscore continues on either side, that
 * does not begin with a digit, of 2 to 40 bytes. Case counts. All other bytes, those above 127 included,
 * separate words. So "grep -ow" over the same bytes finds a word exactly where words_next() does.
 */
#include "words.h"

#include <string.h>

static const bool is_word_byte[256] = {
	['0' ... '9'] = true,
	['A' ... 'Z'] = true,
	['_'] = true,
	['a' ... 'z'] = true,
};

static bool word_byte(char c)
{
	return is_word_byte[(unsigned char)c];
}

/* The next run of word bytes; its text is NULL when there is none. */
static struct word run_next(struct words *words)
{
	struct word run = { 0 };

	while (words->at < words->end && !word_byte(*words->at))
		words->at++;
	if (words->at == words->end)
		return run;
	run.text = words->at;
	while (words->at < words->end && word_byte(*words->at))
		words->at++;
	run.length = (uint32_t)(words->at - run.text);
	return run;
}

static bool run_is_word(const struct word *run)
{
	bool digit = *run->text >= '0' && *run->text <= '9';

	return !digit && run->length >= WORD_MIN && run->length <= WORD_MAX;
}

bool words_next(struct words *words, struct word *word)
{
	for (;;) {
		struct word run = run_next(words);

		if (!run.text)
			return false;
		if (!run_is_word(&run))
			continue;
		run.hash = word_hash(run.text, run.length);
		*word = run;
		return true;
	}
}

bool word_from(const char *string, struct word *word)
{
	size_t length = strlen(string);
	struct words words = words_begin(string, length);
	struct word first;

	if (!words_next(&words, &first) || first.length != length)
		return false;
	*word = first;
	return true;
}

/* FNV-1a, then two shifts: its low bits alone are too regular for words that differ in the last letter. */
uint32_t word_hash(const char *text, size_t length)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)text[i]) * 16777619u;
	hash ^= hash >> 15;
	hash *= 2246822519u;
	return hash ^ hash >> 13;
}
