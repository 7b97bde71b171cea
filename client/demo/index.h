/* SPDX-License-Identifier: MIT */
/*
 * index.h - the inverted index: words, and where they stand.
 */
#pragma once

#include "schema.h"
#include "words.h"

/* An index for about this much text, of an empty table; NULL and errno. */
struct index *index_new(const struct schema *schema, uint64_t bytes, struct table *table);

/* The index that the heap's root leads to; NULL after having said why not. */
struct index *index_find(heapd_heap *heap);

/* The word's term, or NULL. */
struct term *index_search(const struct index *index, const struct word *word);

/* The word's term, made if there is none; NULL and errno. Any number of processes at once. */
struct term *index_term(struct index *index, const struct schema *schema, const struct word *word);
