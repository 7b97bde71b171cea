/* SPDX-License-Identifier: MIT */
/*
 * draw.h - words drawn by lot, to ask for.
 */
#pragma once

#include "schema.h"
#include "words.h"

#define DRAW_MAX 1000

struct word_list {
	size_t n;
	char *words[DRAW_MAX];
};

/* Adds a copy unless it is there already; -ENOMEM is the only error, a full list takes nothing. */
int word_list_add(struct word_list *list, const char *text, size_t length);
bool word_list_has(const struct word_list *list, const char *text, size_t length);
void word_list_free(struct word_list *list);

/* One word a line, malloc memory; NULL: no memory. */
char *word_list_join(const struct word_list *list);

/* Up to n different words of one text file that was drawn by lot. Asks the file, not the index. */
int draw_from_one_file(const struct table *table, uint64_t *random, size_t n, struct word_list *list);

/* A word that will hardly stand anywhere. */
int draw_absent(uint64_t *random, struct word_list *list);
