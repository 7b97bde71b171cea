/* SPDX-License-Identifier: MIT */
/*
 * draw.c - owns which words are asked for.
 *
 * Most come from the files themselves, not from the index: a word that the index forgot would never be drawn
 * from it. Each different word of a file has the same chance, else nearly all would be the commonest.
 */
#include "draw.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "claims.h"
#include "random.h"
#include "tally.h"

#define TRIES 100 /* files may be changed, binary or empty; a collection of such files alone has no words */

bool word_list_has(const struct word_list *list, const char *text, size_t length)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strlen(list->words[i]) == length && memcmp(list->words[i], text, length) == 0)
			return true;
	}
	return false;
}

int word_list_add(struct word_list *list, const char *text, size_t length)
{
	if (list->n == DRAW_MAX || word_list_has(list, text, length))
		return 0;
	list->words[list->n] = strndup(text, length);
	if (!list->words[list->n])
		return -ENOMEM;
	list->n++;
	return 0;
}

void word_list_free(struct word_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->words[i]);
	*list = (struct word_list){ 0 };
}

char *word_list_join(const struct word_list *list)
{
	char *text, *at;

	text = at = calloc(list->n + 1, WORD_MAX + 1);
	for (size_t i = 0; text && i < list->n; i++)
		at = stpcpy(stpcpy(at, i ? "\n" : ""), list->words[i]);
	return text;
}

/* Reads a file drawn by lot and counts its words; without luck the tally is empty. */
static int tally_some_file(const struct table *table, uint64_t *random, struct corpus_text *text,
			   struct tally *tally)
{
	struct corpus_finding finding;
	int r = 0;

	for (unsigned i = 0; i < TRIES && r == 0 && tally->nwords == 0; i++) {
		const struct file *file = table->files[random_below(random, table->nfiles)];
		const struct attempt *winner = heapd_load(&file->winner);

		if (!winner || winner->kind != CORPUS_TEXT || !claims_counts(winner))
			continue;
		r = corpus_read(file->path, text, &finding);
		if (r == 0 && finding.kind == CORPUS_TEXT)
			r = tally_count(tally, text->bytes, text->size);
	}
	return r;
}

int draw_from_one_file(const struct table *table, uint64_t *random, size_t n, struct word_list *list)
{
	struct corpus_text text = { 0 };
	struct tally tally = { 0 };
	size_t wanted = list->n + n;
	int r = table->nfiles ? tally_some_file(table, random, &text, &tally) : 0;

	for (unsigned i = 0; i < TRIES && r == 0 && tally.nwords && list->n < wanted; i++) {
		const struct word *word = &tally.words[random_below(random, tally.nwords)].word;

		r = word_list_add(list, word->text, word->length);
	}
	tally_free(&tally);
	free(text.bytes);
	return r;
}

int draw_absent(uint64_t *random, struct word_list *list)
{
	char text[WORD_MAX + 1];
	int n = snprintf(text, sizeof(text), "Absent_%016llx", (unsigned long long)random_next(random));

	return word_list_add(list, text, (size_t)n);
}
