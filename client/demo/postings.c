/* SPDX-License-Identifier: MIT */
/*
 * postings.c - owns the chains of postings: how they grow, and how they lose what nobody needs any more.
 *
 * A new posting is put before its term's first one by one compare-and-swap. Which of them count is claims.c's
 * affair. When a file has been read again, its old postings are obsolete: they never count again. Pruning takes
 * them out; the collector does the rest. Nobody waits, and anybody may be killed anywhere, because
 *
 *   - postings come in at the front only, so the order of those in a chain never changes, and nothing is ever
 *     put behind one that is just taken out;
 *   - obsolete is for good, so whoever sees it may act on it as late as he likes.
 *
 * A link (a term's `postings` or a posting's `next`) that leads to an obsolete posting is swapped for that
 * posting's own next, if it is still what was seen. Claim: a link only ever skips obsolete postings. It does at
 * first, skipping nothing; a swap adds one that is obsolete, and what that one's own next skips. So whatever pruners
 * do at the same time, to neighbours or to the same posting, none that counts, or may count one day, is lost. The
 * worst they do is to lead past a posting's removal (the link that was changed belonged to one that was itself
 * taken out): then it stays, or comes back, obsolete as before, until the next pass.
 *
 * That a swap for an address seen earlier means the same posting (no ABA) is the collector's gift: no posting is
 * given out again as long as somebody here holds it. Explicit free would break just that. A reader that stands on
 * a posting taken out finds its way on: the posting's own next still leads along the chain.
 */
#include "postings.h"

#include "claims.h"

struct posting *posting_new(const struct schema *schema, struct attempt *attempt, uint32_t count)
{
	struct posting *posting = heapd_new_flex(schema->posting, struct posting, offsets, count);

	if (!posting)
		return NULL;
	posting->count = count;
	heapd_init(&posting->attempt, attempt);
	return posting;
}

void posting_publish(struct term *term, struct posting *posting)
{
	struct posting *first = heapd_load(&term->postings);

	do
		heapd_store(&posting->next, first);
	while (!heapd_cas(&term->postings, &first, posting));
	/* Its own worker's alone to write. One that is killed here leaves a posting that is not counted. */
	posting->attempt->postings++;
	posting->attempt->bytes += heapd_size(posting);
}

struct posting *posting_counting(struct posting *posting)
{
	while (posting && !claims_counts(posting->attempt))
		posting = heapd_load(&posting->next);
	return posting;
}

struct postings_sum postings_sum(const struct term *term)
{
	struct posting *p = posting_counting(heapd_load(&term->postings));
	struct postings_sum sum = { 0 };

	for (; p; p = posting_counting(heapd_load(&p->next))) {
		sum.files++;
		sum.places += p->count;
	}
	return sum;
}

/* The field may be the term's or a posting's. Where a swap fails, the field has what is looked at next. */
static void prune_term(struct term *term)
{
	struct posting *previous = NULL, *p = heapd_load(&term->postings);

	while (p) {
		struct posting *next = heapd_load(&p->next);

		if (!claims_obsolete(p->attempt)) {
			previous = p;
			p = next;
		} else if (previous ? heapd_cas(&previous->next, &p, next)
				    : heapd_cas(&term->postings, &p, next)) {
			p = next;
		}
	}
}

/* Who is killed at it leaves his buckets for the next time round. */
void postings_prune(struct index *index, uint64_t n)
{
	struct buckets *buckets = index->buckets;
	uint64_t at = __atomic_fetch_add(&index->pruned, n, __ATOMIC_RELAXED);

	for (uint64_t i = 0; i < n && i <= buckets->mask; i++) {
		struct term *term = heapd_load(&buckets->heads[(at + i) & buckets->mask]);

		for (; term; term = term->next)
			prune_term(term);
	}
}

static void count_object(struct postings_census *census, const void *object)
{
	census->objects++;
	census->bytes += heapd_size(object);
}

static void count_term(const struct term *term, struct postings_census *census)
{
	uint64_t before = census->postings;

	count_object(census, term);
	for (struct posting *p = heapd_load(&term->postings); p; p = heapd_load(&p->next)) {
		count_object(census, p);
		if (!claims_won(p->attempt))
			continue;
		census->postings++;
		census->places += p->count;
	}
	census->words += census->postings > before;
}

void postings_count(const struct index *index, struct postings_census *census)
{
	const struct buckets *buckets = index->buckets;

	*census = (struct postings_census){ 0 };
	count_object(census, index);
	count_object(census, buckets);
	for (uint64_t i = 0; i <= buckets->mask; i++) {
		for (struct term *term = heapd_load(&buckets->heads[i]); term; term = term->next)
			count_term(term, census);
	}
}
