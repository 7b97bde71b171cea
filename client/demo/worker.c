/* SPDX-License-Identifier: MIT */
/*
 * worker.c - owns what a worker does with one file after the other.
 *
 * A file's words are counted in private memory first (tally.c), then published. What the worker holds of the
 * heap are local variables; it may be killed anywhere (claims.c says why that is all right), so there is
 * nothing to tidy up in here.
 */
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "claims.h"
#include "index.h"
#include "postings.h"
#include "say.h"
#include "tally.h"

#define PRUNINGS 2

struct worker {
	struct schema schema;
	struct claimant who;
	struct corpus_text text; /* private memory, used for one file after the other */
	struct tally tally;
};

static void fill_posting(struct posting *posting, const struct tally *tally, const struct tally_word *word)
{
	uint32_t place = word->first;

	for (uint32_t i = 0; i < word->count; i++) {
		posting->offsets[i] = tally->places[place].offset;
		place = tally->places[place].next;
	}
}

static int publish_word(struct worker *worker, struct index *index, struct attempt *attempt,
			const struct tally_word *word)
{
	struct posting *posting = posting_new(&worker->schema, attempt, word->count);
	struct term *term = posting ? index_term(index, &worker->schema, &word->word) : NULL;

	if (!term)
		return say_heapd_error(-errno, "no room for a word%s",
				       errno == ENOMEM ? " (--heap-size gives a private heap more)" : "");
	fill_posting(posting, &worker->tally, word);
	posting_publish(term, posting);
	return 0;
}

static int publish_words(struct worker *worker, struct index *index, struct attempt *attempt)
{
	int r = 0;

	for (uint32_t i = 0; i < worker->tally.nwords && r == 0; i++)
		r = publish_word(worker, index, attempt, &worker->tally.words[i]);
	return r;
}

static int index_file(struct worker *worker, struct index *index, struct attempt *attempt)
{
	struct corpus_finding finding;
	int r = corpus_read(attempt->file->path, &worker->text, &finding);

	if (r == 0 && finding.kind == CORPUS_TEXT)
		r = tally_count(&worker->tally, worker->text.bytes, worker->text.size);
	if (r < 0)
		return say_error(r, "%s", attempt->file->path);
	if (finding.kind == CORPUS_TEXT)
		r = publish_words(worker, index, attempt);
	if (r == 0)
		claims_finish(attempt, &finding);
	return r;
}

/*
 * As large a part of the chains as the file is of all text, times PRUNINGS: so, however many work and whatever they
 * read, each chain is pruned PRUNINGS times a round, and what is obsolete and still in a chain stays below one
 * PRUNINGSth of the index. There is nothing to prune in the first round but what the dead have left.
 */
static void prune_share(struct index *index, const struct attempt *attempt)
{
	const struct table *table = index->table;
	double part = (double)(attempt->file->size + 1) / (double)(table->bytes + table->nfiles);

	if (attempt->round > 1)
		postings_prune(index, 1 + (uint64_t)(PRUNINGS * part * (double)(index->buckets->mask + 1)));
}

static int index_and_prune(struct worker *worker, struct index *index, struct attempt *attempt)
{
	int r = index_file(worker, index, attempt);

	if (r == 0)
		prune_share(index, attempt);
	return r;
}

static int index_files(struct worker *worker, struct index *index)
{
	struct table *table = index->table;
	struct attempt *attempt;
	uint64_t from = 0;
	int r;

	while ((r = claims_inherit(table, &worker->schema, worker->who, &from, &attempt)) > 0) {
		r = index_and_prune(worker, index, attempt);
		if (r < 0)
			return r;
	}
	while (r == 0 && (r = claims_next(table, &worker->schema, worker->who, &attempt)) > 0)
		r = index_and_prune(worker, index, attempt);
	return r;
}

/* A worker without a coordinator has nobody who waits for its result. */
static int end_with_parent(void)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return say_error(-errno, "prctl");
	return getppid() == 1 ? -ECHILD : 0;
}

int worker_run(const struct options *options)
{
	struct worker worker = { .who = { .slot = options->slot, .life = options->life } };
	struct index *index;
	heapd_heap *heap;
	int r = end_with_parent();

	if (r == 0)
		r = options_attach(options, 0, &heap);
	if (r < 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): options_attach() sets it, or failed */
	r = schema_define(&worker.schema, heap);
	if (r == 0) {
		index = index_find(heap);
		r = index ? index_files(&worker, index) : -ENOENT;
	}
	tally_free(&worker.tally);
	free(worker.text.bytes);
	heapd_detach(heap);
	return r;
}
