/* SPDX-License-Identifier: MIT */
/*
 * coordinator.c - owns the order of things: daemon, index, workers, collection, readers and grep, verify,
 * summary.
 *
 * The coordinator is a client of the heap like the others: it makes the empty index and the table of files,
 * and names the index as a root. From then on the heap's contents are everybody's, and the coordinator
 * starts and kills processes. What it started is ended on every way out of run().
 *
 * No pointer into the heap is on its stack while it waits for a collection. The collector takes an address there also for one
 * past the end of the object that lies before it (heapd.3): with the index on the stack all the time, what lay before the
 * index was kept, in one run of four an obsolete posting, and all that came after it in its chain. So each step finds the
 * index by its root, in a frame of its own, and lets go of it.
 */
#include "coordinator.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "claims.h"
#include "index.h"
#include "postings.h"
#include "say.h"
#include "summary.h"

#define CHECKS_MAX  3
#define COLLECTIONS 4

#define own_frame __attribute__((noinline))

static const char *const default_directories[] = { "/usr/share/doc", "/usr/include" };

/* Of the directories that nobody named, those that are not there do not matter. */
static int find_default_files(struct corpus *corpus)
{
	int r = 0;

	for (size_t i = 0; i < sizeof(default_directories) / sizeof(default_directories[0]) && r == 0; i++) {
		if (access(default_directories[i], R_OK) == 0)
			r = corpus_find(corpus, default_directories[i]);
	}
	return r;
}

static int find_files(const struct options *options, struct corpus *corpus)
{
	int r = options->narguments ? 0 : find_default_files(corpus);

	for (size_t i = 0; i < options->narguments && r == 0; i++)
		r = corpus_find(corpus, options->arguments[i]);
	if (r == 0 && !corpus->nfiles) {
		say_error(0, "there is nothing to index; name a directory with text in it");
		return -ENOENT;
	}
	corpus_sort(corpus);
	return r;
}

/* Only when the root leads to it can others find the index, so it is complete before that. */
static own_frame int make_index(heapd_heap *heap, const struct corpus *corpus)
{
	struct schema schema;
	struct table *table;
	struct index *index;
	int r = schema_define(&schema, heap);

	if (r < 0)
		return r;
	table = claims_new(&schema, heap, corpus);
	index = table ? index_new(&schema, corpus->bytes, table) : NULL;
	r = index ? heapd_root_set(heap, INDEX_ROOT, index) : -errno;
	return r < 0 ? say_heapd_error(r, "cannot make the index") : 0;
}

static own_frame int build(const struct options *options, struct host *host, heapd_heap *heap,
			   struct summary *summary)
{
	struct index *index = index_find(heap);

	return index ? crew_run(options, host, heap, index->table, &summary->crew) : -ENOENT;
}

static own_frame int prune(heapd_heap *heap)
{
	struct index *index = index_find(heap);

	if (!index)
		return -ENOENT;
	postings_prune(index, index->buckets->mask + 1);
	return 0;
}

/*
 * What the dead and the updates left behind goes: the chains lose what is obsolete, then two collections; what was
 * supplied while the first ran is the second's. Two more are for slabs that processors have current: they are left alone until nobody has
 * allocated from them for two collections. Done before answers are compared, so that they show that nothing
 * else went.
 */
static int collect(heapd_heap *heap)
{
	int r = 0;

	for (unsigned i = 0; i < COLLECTIONS && r == 0; i++)
		r = heapd_collect(heap);
	return r == -ENOTSUP ? 0 : r < 0 ? say_heapd_error(r, "cannot collect") : 0;
}

/* A machine at work may change a file between reader and grep: that is no fault of the index. */
static int check(const struct options *options, heapd_heap *heap, struct summary *summary)
{
	const struct index *index = index_find(heap);
	int r;

	if (!index)
		return -ENOENT;
	claims_mark_changed(index->table);
	r = check_run(options, index->table, &summary->check);
	for (unsigned i = 1; i < CHECKS_MAX && r == 0 && summary->check.differs; i++) {
		if (!claims_mark_changed(index->table))
			break;
		say_error(0, "files have changed while answers were compared: comparing again");
		r = check_run(options, index->table, &summary->check);
	}
	return r;
}

static int verify(heapd_heap *heap, struct summary *summary)
{
	struct heapd_verify_result *v = &summary->verify;
	int r = heapd_verify(heap, v);

	if (r < 0)
		return say_heapd_error(r, "cannot verify the heap");
	if (r > 0)
		say_error(0, "verify: %llu faults, the first: %s", (unsigned long long)v->faults, v->first);
	return 0;
}

/* Whatever can be reached must be allocated, so that nobody else is given it. */
static void weigh(struct summary *summary)
{
	uint64_t reachable = summary_reachable(summary);

	if (!summary->private || summary->verify.allocated >= reachable)
		return;
	say_error(0, "%llu bytes can be reached that are not allocated",
		  (unsigned long long)(reachable - summary->verify.allocated));
	summary->check.differs = true;
}

/* Everything that can be counted is, before the heap goes. */
static int measure(heapd_heap *heap, struct summary *summary)
{
	const struct index *index = index_find(heap);
	int r;

	if (!index)
		return -ENOENT;
	r = heapd_get_info(heap, &summary->info);
	if (r < 0)
		return say_heapd_error(r, "cannot read the heap's counters");
	claims_count(index->table, &summary->files);
	if (summary->files.unfinished) {
		say_error(0, "%llu files were not finished", (unsigned long long)summary->files.unfinished);
		summary->check.differs = true;
	}
	postings_count(index, &summary->index);
	r = verify(heap, summary);
	if (r == 0)
		weigh(summary);
	return r;
}

static int build_and_check(const struct options *options, struct host *host, heapd_heap *heap,
			   struct summary *summary)
{
	int r = make_index(heap, &summary->corpus);

	if (r == 0)
		r = build(options, host, heap, summary);
	if (r == 0)
		r = prune(heap);
	if (r == 0)
		r = collect(heap);
	if (r == 0)
		r = check(options, heap, summary);
	if (r == 0)
		r = host_check(host);
	if (r == 0)
		r = measure(heap, summary);
	return r;
}

static int attach_and_run(const struct options *options, struct host *host, struct summary *summary)
{
	heapd_heap *heap;
	int r = options_attach(options, 0, &heap);

	if (r < 0)
		return r;
	r = build_and_check(options, host, heap, summary);
	heapd_detach(heap);
	if (r < 0)
		return r;
	if (!options->quiet)
		summary_print(summary, options);
	return summary->check.differs || summary->verify.faults;
}

static uint64_t heap_size(const struct options *options, const struct corpus *corpus)
{
	return options->heap_size ? options->heap_size : (128ull << 20) + 4 * corpus->bytes;
}

/* With a heap of one's own unless another was named. */
static int run_with(const struct options *options, bool last, struct summary *summary)
{
	struct options with = *options;
	struct host host = { 0 };
	int r = find_files(options, &summary->corpus);

	if (r == 0 && summary->private) {
		r = host_start(&host, heap_size(options, &summary->corpus), options->keep);
		with.socket = host.socket;
		with.heap = HOST_HEAP;
	}
	if (r == 0)
		r = attach_and_run(&with, &host, summary);
	if (summary->private && options->keep && (r > 0 || (r == 0 && last)))
		host_keep(&host);
	else
		host_stop(&host);
	corpus_free(&summary->corpus);
	return r;
}

/*
 * Once. What is to be told lies in malloc memory, where the collector does not look: info.base is an address in the heap, and on
 * this stack it would keep the object that begins there, and all that it leads to, as any such word would.
 */
static int run(const struct options *options, bool last)
{
	struct summary *summary = calloc(1, sizeof(*summary));
	int r;

	if (!summary)
		return say_error(-ENOMEM, "no memory");
	summary->info.size = sizeof(summary->info);
	summary->verify.size = sizeof(summary->verify);
	summary->private = !options->socket && !options->heap;
	r = run_with(options, last, summary);
	free(summary);
	return r;
}

int coordinator_run(const struct options *options)
{
	struct options with = *options;
	int r = signals_init();

	for (unsigned i = 0; i < options->repeat && r == 0; i++) {
		if (options->repeat > 1)
			say_done(options->quiet, "Run %u of %u, seed %llu", i + 1, options->repeat,
				 (unsigned long long)with.seed);
		r = run(&with, i + 1 == options->repeat);
		with.seed++;
	}
	return r;
}
