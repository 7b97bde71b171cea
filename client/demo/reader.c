/* SPDX-License-Identifier: MIT */
/*
 * reader.c - owns the questions that the index answers.
 *
 * A reader attaches read-only, finds the index by its root, and follows the pointers in it as if it had built
 * it itself. It may read while workers write, and then counts no file that is half done and none twice, but may miss one that is just replaced. Pointers into the
 * heap are held in local variables only; sets of files lie in private memory by the files' numbers.
 *
 * The answers look like grep's, so that they can be compared byte for byte:
 *
 *   places   "PATH\0OFFSET:WORD\n"   as from grep -abHoZ
 *   files    "PATH\n", with --null "PATH\0"   as from grep -l and grep -lZ
 */
#include "reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "claims.h"
#include "index.h"
#include "postings.h"
#include "random.h"
#include "say.h"
#include "sound.h"

#define TOP_MAX     100
#define RARE_PLACES 3 /* a word with at most as many is rare */

/* What was asked: the words of all arguments after the first, one by one. */
struct question {
	struct index *index;
	char **words;
	size_t nwords;
	char end_of_path;
};

static uint64_t number(const struct question *q, size_t i, uint64_t otherwise)
{
	return i < q->nwords ? strtoull(q->words[i], NULL, 10) : otherwise;
}

static void print_term(uint64_t count, const struct term *term)
{
	printf("%" PRIu64 " %.*s\n", count, (int)term->length, term->text);
}

struct top {
	uint64_t n;
	struct {
		uint64_t places;
		struct term *term; /* struct top lies on the stack: pointers into the heap may lie there, too */
	} best[TOP_MAX + 1];
};

static bool precedes(uint64_t places, const struct term *term, uint64_t other_places,
		     const struct term *other)
{
	uint32_t common = term->length < other->length ? term->length : other->length;
	int order = memcmp(term->text, other->text, common);

	if (places != other_places)
		return places > other_places;
	return order ? order < 0 : term->length < other->length;
}

/* Insertion into a list in order; what falls off its end is the one too many. */
static void top_add(struct top *top, uint64_t limit, struct term *term, uint64_t places)
{
	uint64_t i = top->n;

	for (; i > 0 && precedes(places, term, top->best[i - 1].places, top->best[i - 1].term); i--)
		top->best[i] = top->best[i - 1];
	top->best[i].places = places;
	top->best[i].term = term;
	if (top->n < limit)
		top->n++;
}

static int ask_top(const struct question *q)
{
	const struct buckets *buckets = q->index->buckets;
	uint64_t limit = number(q, 0, 20);
	struct top top = { 0 };

	if (limit > TOP_MAX)
		return say_error(-ERANGE, "top: at most %d", TOP_MAX);
	for (uint64_t i = 0; i <= buckets->mask; i++) {
		for (struct term *term = heapd_load(&buckets->heads[i]); term; term = term->next)
			top_add(&top, limit, term, postings_sum(term).places);
	}
	for (uint64_t i = 0; i < top.n && top.best[i].places; i++)
		print_term(top.best[i].places, top.best[i].term);
	return 0;
}

static struct term *find(const struct question *q, size_t i)
{
	struct word word;

	return word_from(q->words[i], &word) ? index_search(q->index, &word) : NULL;
}

static int ask_count(const struct question *q)
{
	for (size_t i = 0; i < q->nwords; i++) {
		struct term *term = find(q, i);

		printf("%" PRIu64 " %s\n", term ? postings_sum(term).places : 0, q->words[i]);
	}
	return 0;
}

static void print_places(const struct posting *posting, const char *word)
{
	const char *path = posting->attempt->file->path;

	for (uint32_t i = 0; i < posting->count; i++)
		printf("%s%c%" PRIu32 ":%s\n", path, '\0', posting->offsets[i], word);
}

static int ask_places(const struct question *q)
{
	for (size_t i = 0; i < q->nwords; i++) {
		struct term *term = find(q, i);
		struct posting *p = term ? posting_counting(heapd_load(&term->postings)) : NULL;

		for (; p; p = posting_counting(heapd_load(&p->next)))
			print_places(p, q->words[i]);
	}
	return 0;
}

static bool begins_with_any(const struct question *q, const struct term *term)
{
	for (size_t i = 0; i < q->nwords; i++) {
		size_t length = strlen(q->words[i]);

		if (term->length >= length && memcmp(term->text, q->words[i], length) == 0)
			return true;
	}
	return false;
}

static int ask_words(const struct question *q)
{
	const struct buckets *buckets = q->index->buckets;

	for (uint64_t i = 0; i <= buckets->mask; i++) {
		for (struct term *term = heapd_load(&buckets->heads[i]); term; term = term->next) {
			uint64_t places = begins_with_any(q, term) ? postings_sum(term).places : 0;

			if (places)
				print_term(places, term);
		}
	}
	return 0;
}

/* hits[f] counts, for file number f, how many of the words before this one it has: it must be all of them. */
static void keep_files_with(const struct question *q, size_t i, uint32_t *hits)
{
	struct term *term = find(q, i);
	struct posting *p = term ? posting_counting(heapd_load(&term->postings)) : NULL;

	for (; p; p = posting_counting(heapd_load(&p->next))) {
		uint32_t file = p->attempt->file->number;

		if (hits[file] == i)
			hits[file]++;
	}
}

static int ask_files(const struct question *q)
{
	const struct table *table = q->index->table;
	uint32_t *hits = calloc(table->nfiles + 1, sizeof(*hits));

	if (!hits)
		return say_error(-ENOMEM, "files");
	for (size_t i = 0; i < q->nwords; i++)
		keep_files_with(q, i, hits);
	for (uint64_t f = 0; f < table->nfiles; f++) {
		if (q->nwords && hits[f] == q->nwords)
			printf("%s%c", table->files[f]->path, q->end_of_path);
	}
	free(hits);
	return 0;
}

static struct term *rare_in_chain(struct term *term)
{
	for (; term; term = term->next) {
		uint64_t places = postings_sum(term).places;

		if (places && places <= RARE_PLACES)
			return term;
	}
	return NULL;
}

/* From a chain drawn by lot on, the next rare word; the same one may come twice. */
static int ask_rare(const struct question *q)
{
	const struct buckets *buckets = q->index->buckets;
	uint64_t n = number(q, 0, 1), random = number(q, 1, 0);

	for (; n; n--) {
		uint64_t start = random_next(&random);
		struct term *rare = NULL;

		for (uint64_t i = 0; i <= buckets->mask && !rare; i++)
			rare = rare_in_chain(heapd_load(&buckets->heads[(start + i) & buckets->mask]));
		if (rare)
			printf("%.*s\n", (int)rare->length, rare->text);
	}
	return 0;
}

static int ask_sound(const struct question *q)
{
	return sound_index(q->index);
}

static int answer(const struct question *q, const char *name)
{
	static const struct {
		const char *name;
		int (*ask)(const struct question *q);
	} questions[] = {
		{ "top", ask_top },     { "count", ask_count }, { "places", ask_places },
		{ "files", ask_files }, { "words", ask_words }, { "rare", ask_rare },
		{ "sound", ask_sound },
	};

	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
		if (strcmp(questions[i].name, name) == 0)
			return questions[i].ask(q);
	}
	say_error(0, "%s: no such question; --help lists them", name);
	return -EINVAL;
}

/* Arguments are cut at blanks and line ends: one may hold many words. The words lie in `text`. */
static int cut_words(const struct options *options, struct question *q, char **text)
{
	size_t bytes = 1, n = 0;
	char *at, *rest;

	for (size_t i = 1; i < options->narguments; i++)
		bytes += strlen(options->arguments[i]) + 1;
	*text = calloc(1, bytes);
	q->words = calloc(bytes, sizeof(*q->words));
	if (!*text || !q->words)
		return -ENOMEM;
	at = *text;
	for (size_t i = 1; i < options->narguments; i++)
		at = stpcpy(stpcpy(at, options->arguments[i]), "\n");
	for (at = strtok_r(*text, " \t\n", &rest); at; at = strtok_r(NULL, " \t\n", &rest))
		q->words[n++] = at;
	q->nwords = n;
	return 0;
}

static int answer_from(heapd_heap *heap, const struct options *options)
{
	struct question q = { .index = index_find(heap), .end_of_path = options->null ? '\0' : '\n' };
	char *text = NULL;
	int r = q.index ? cut_words(options, &q, &text) : -ENOENT;

	if (r == 0)
		r = answer(&q, options->arguments[0]);
	if (fflush(stdout) != 0 && r == 0)
		r = say_error(-errno, "cannot write the answer");
	free(q.words);
	free(text);
	return r;
}

int reader_run(const struct options *options)
{
	heapd_heap *heap;
	int r = options_attach(options, HEAPD_ATTACH_READ_ONLY, &heap);

	if (r < 0)
		return r;
	r = answer_from(heap, options);
	heapd_detach(heap);
	return r;
}
