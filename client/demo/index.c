/* SPDX-License-Identifier: MIT */
/*
 * index.c - owns the concurrent hash map.
 *
 * The map is an array of chains. A new term is filled in first, then put before the chain's first term by one
 * compare-and-swap; a term never leaves its chain and its `next` never changes, so whoever walks along a
 * chain walks along a list that can only have grown at its front. If the compare-and-swap fails, only the
 * terms that came in front meanwhile can be the same word: they are looked at, then it is tried again. So
 * there is one term for a word, nobody waits for anybody, and a process that is killed has either added its
 * term or left an object that nothing leads to.
 *
 * Terms stay, even if no file has the word any more. The postings that hang from them come and go: postings.c.
 */
#include "index.h"

#include <errno.h>
#include <string.h>

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
			return known; /* nobody has seen ours: it is garbage */
		seen = first;
	}
}
