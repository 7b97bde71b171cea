/* SPDX-License-Identifier: MIT */
/*
 * words.h - what a word is, and how to walk over the words of a text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORD_MIN 2
#define WORD_MAX 40

struct word {
	const char *text; /* not NUL-terminated */
	uint32_t length;
	uint32_t hash;
};

struct words {
	const char *at, *end;
};

static inline struct words words_begin(const char *text, size_t size)
{
	return (struct words){ .at = text, .end = text + size };
}

/* The next word, in the order of the text; false when there is none left. */
bool words_next(struct words *words, struct word *word);

/* A whole string as one word; false if it is not one. */
bool word_from(const char *string, struct word *word);

uint32_t word_hash(const char *text, size_t length);
