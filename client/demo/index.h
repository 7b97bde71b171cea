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

/* A posting that nobody sees yet; the caller fills in the offsets. NULL and errno. */
struct posting *index_posting(const struct schema *schema, struct attempt *attempt, uint32_t count);

/* Adds it to the term's; it counts once its attempt has won. */
void index_publish(struct term *term, struct posting *posting);

/* How often a word stands where, all files that count together. */
struct index_sum {
	uint64_t files, places;
};
struct index_sum index_sum(const struct term *term);

/* The next posting that counts, `posting` itself if it does; NULL at the end. */
struct posting *index_counting(struct posting *posting);

/* What an index consists of. */
struct index_census {
	uint64_t words, postings, places; /* that count */
	uint64_t objects, bytes;          /* everything that can be reached */
	uint64_t lost_postings, lost_bytes;
};

/*
 * Takes the postings of attempts that did not win out of the chains, so that nothing leads to them any more,
 * and counts what is left. Readers may be at work, writers may not.
 */
void index_prune(struct index *index, struct index_census *census);
