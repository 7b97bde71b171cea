/* SPDX-License-Identifier: MIT */
/*
 * index.c - owns the concurrent hash map, and the chains of postings that hang from it.
 *
 * The map is an array of chains. A new term is filled in first, then put before the chain's first term by one
 * compare-and-swap; a term never leaves its chain and its `next` never changes, so whoever walks along a
 * chain walks along a list that can only have grown at its front. If the compare-and-swap fails, only the
 * terms that came in front meanwhile can be the same word: they are looked at, then it is tried again. So
 * there is one term for a word, nobody waits for anybody, and a process that is killed has either added its
 * term or left an object that nothing leads to.
 *
 * Postings are put before a term's first one in the same way. Which of them count is claims.c's affair.
 */
#include "index.h"

#include <errno.h>
#include <string.h>

#include "claims.h"
#include "say.h"

#define BYTES_PER_BUCKET 512 /* in a large collection: two buckets for each different word */
#define BUCKETS_MIN      1024

struct index *index_new(const struct schema *schema, uint64_t bytes, struct table *table)
{
	struct index *index = heapd_new(schema->index, struct index);
	struct buckets *buckets;
	uint64_t n = BUCKETS_MIN;

	while (n * BYTES_PER_BUCKET < bytes)
		n *= 2;
	buckets = heapd_new_flex(schema->buckets, struct buckets, heads, n);
	if (!index || !buckets)
		return NULL;
	buckets->mask = n - 1;
	heapd_init(&index->table, table);
	heapd_init(&index->buckets, buckets);
	return index;
}

struct index *index_find(heapd_heap *heap)
{
	heapd_type *type = heapd_type_find(heap, "demo.index");
	struct index *index = type ? heapd_root_get(heap, INDEX_ROOT, type) : NULL;

	if (!index)
		say_error(0, "this heap holds no index: its root " INDEX_ROOT " leads nowhere");
	return index;
}

/* Along a chain, up to but not including `end`. */
static struct term *search_chain(struct term *term, const struct term *end, const struct word *word)
{
	for (; term != end; term = term->next) {
		if (term->hash == word->hash && term->length == word->length &&
		    memcmp(term->text, word->text, word->length) == 0)
			return term;
	}
	return NULL;
}

struct term *index_search(const struct index *index, const struct word *word)
{
	struct buckets *buckets = index->buckets;

	return search_chain(heapd_load(&buckets->heads[word->hash & buckets->mask]), NULL, word);
}

static struct term *new_term(const struct schema *schema, const struct word *word)
{
	struct term *term = heapd_new_flex(schema->term, struct term, text, word->length);

	if (!term)
		return NULL;
	term->hash = word->hash;
	term->length = word->length;
	memcpy(term->text, word->text, word->length);
	return term;
}

struct term *index_term(struct index *index, const struct schema *schema, const struct word *word)
{
	struct buckets *buckets = index->buckets;
	uint64_t bucket = word->hash & buckets->mask;
	struct term *first = heapd_load(&buckets->heads[bucket]), *seen = first;
	struct term *known = search_chain(first, NULL, word), *term;

	if (known)
		return known;
	term = new_term(schema, word);
	if (!term)
		return NULL;
	for (;;) {
		heapd_store(&term->next, first);
		if (heapd_cas(&buckets->heads[bucket], &first, term))
			return term;
		known = search_chain(first, seen, word);
		if (known)
			break;
		seen = first;
	}
	heapd_free(term); /* nobody has seen it */
	return known;
}

struct posting *index_posting(const struct schema *schema, struct attempt *attempt, uint32_t count)
{
	struct posting *posting = heapd_new_flex(schema->posting, struct posting, offsets, count);

	if (!posting)
		return NULL;
	posting->count = count;
	heapd_init(&posting->attempt, attempt);
	return posting;
}

void index_publish(struct term *term, struct posting *posting)
{
	struct posting *first = heapd_load(&term->postings);

	do
		heapd_store(&posting->next, first);
	while (!heapd_cas(&term->postings, &first, posting));
}

struct posting *index_counting(struct posting *posting)
{
	while (posting && !claims_counts(posting->attempt))
		posting = posting->next;
	return posting;
}

struct index_sum index_sum(const struct term *term)
{
	struct posting *p = index_counting(heapd_load(&term->postings));
	struct index_sum sum = { 0 };

	for (; p; p = index_counting(p->next)) {
		sum.files++;
		sum.places += p->count;
	}
	return sum;
}

static void count_object(struct index_census *census, const void *object)
{
	census->objects++;
	census->bytes += heapd_size(object);
}

/* A reader that stands on a posting taken out still finds its way: the posting's own next is left as it is. */
static void prune_term(struct term *term, struct index_census *census)
{
	struct posting *previous = NULL, *p = heapd_load(&term->postings), *next;
	uint64_t before = census->postings;

	for (; p; p = next) {
		next = p->next;
		if (claims_won(p->attempt)) {
			census->postings++;
			census->places += p->count;
			count_object(census, p);
			previous = p;
			continue;
		}
		census->lost_postings++;
		census->lost_bytes += heapd_size(p);
		if (previous)
			heapd_store(&previous->next, next);
		else
			heapd_store(&term->postings, next);
	}
	census->words += census->postings > before;
}

void index_prune(struct index *index, struct index_census *census)
{
	struct buckets *buckets = index->buckets;

	count_object(census, index);
	count_object(census, buckets);
	for (uint64_t i = 0; i <= buckets->mask; i++) {
		for (struct term *term = heapd_load(&buckets->heads[i]); term; term = term->next) {
			count_object(census, term);
			prune_term(term, census);
		}
	}
}
