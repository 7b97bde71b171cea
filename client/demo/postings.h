/* SPDX-License-Identifier: MIT */
/*
 * postings.h - where the words stand: the chains of postings that hang from the index's terms.
 */
#pragma once

#include "schema.h"

/* A posting that nobody sees yet; the caller fills in the offsets. NULL and errno. */
struct posting *posting_new(const struct schema *schema, struct attempt *attempt, uint32_t count);

/* Adds it to the term's; it counts once its attempt has won. */
void posting_publish(struct term *term, struct posting *posting);

/* The next posting that counts, `posting` itself if it does; NULL at the end. */
struct posting *posting_counting(struct posting *posting);

/* How often a word stands where, all files that count together. */
struct postings_sum {
	uint64_t files, places;
};
struct postings_sum postings_sum(const struct term *term);

/*
 * Takes the postings that will never count again out of the chains of the next n buckets, so that nothing leads to
 * them any more; others may do what they like meanwhile, and be killed.
 */
void postings_prune(struct index *index, uint64_t n);

/* What an index consists of, when nobody writes to it. */
struct postings_census {
	uint64_t words, postings, places; /* that have won */
	uint64_t objects, bytes; /* everything that can be reached from the index, but for its table */
};
void postings_count(const struct index *index, struct postings_census *census);
