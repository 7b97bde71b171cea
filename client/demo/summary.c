/* SPDX-License-Identifier: MIT */
/*
 * summary.c - owns the page that is printed at the end.
 *
 * What is allocated and not reachable is garbage, mostly left by the dead and by updates. In a heap that nobody else
 * uses it is a subtraction; it is measured after the last collection, which leaves only what was supplied to
 * somebody and not used (held), or made since.
 */
#include "summary.h"

#include <inttypes.h>
#include <stdio.h>

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static void print_files(const struct summary *s)
{
	const struct claims_census *f = &s->files;

	printf("files     %" PRIu64 " with %.1f MiB of text; not indexed: %zu by name, %" PRIu64
	       " binary, %" PRIu64 " unreadable, %" PRIu64 " too large\n",
	       f->text, mib(f->bytes), s->corpus.left_out, f->binary, f->unreadable, f->too_large);
	if (f->changed)
		printf("          %" PRIu64 " changed meanwhile and were left out of the comparison\n",
		       f->changed);
}

uint64_t summary_reachable(const struct summary *s)
{
	return s->files.bytes_held + s->index.bytes;
}

static uint64_t garbage(const struct summary *s)
{
	uint64_t reachable = summary_reachable(s);

	return s->verify.allocated > reachable ? s->verify.allocated - reachable : 0;
}

static void print_heap(const struct summary *s)
{
	printf("heap      %" PRIu64 " objects, %.1f MiB, can be reached; allocation by %s\n",
	       s->files.objects + s->index.objects, mib(summary_reachable(s)),
	       s->info.path == HEAPD_PATH_RSEQ ? "restartable sequences" : "compare-and-swap");
	printf("          %.1f MiB committed at most, of %.1f allowed\n", mib(s->crew.committed),
	       mib(s->info.limit));
}

static void print_collections(const struct summary *s)
{
	if (!s->info.collecting) {
		printf("garbage   stays until the heap ends: collection is off\n");
		return;
	}
	printf("collected %" PRIu64 " times: %" PRIu64 " objects, %.1f MiB; longest pause %.0f us\n",
	       s->info.gc_cycles, s->info.gc_freed_objects, mib(s->info.gc_freed),
	       (double)s->info.gc_pause_max_ns / 1e3);
	if (s->private)
		printf("          now %.1f MiB are allocated: %" PRIu64 " bytes more than can be reached\n",
		       mib(s->verify.allocated), garbage(s));
}

static void print_crew(const struct summary *s, const struct options *options)
{
	printf("index     built by %u workers in %.2f s, then updated %" PRIu64
	       " times in %.2f s, seed %" PRIu64 "\n",
	       options->workers, s->crew.build_seconds, s->crew.rounds, s->crew.update_seconds,
	       options->seed);
	printf("killed    %u workers, each replaced, their files redone; meanwhile %u readers walked through all "
	       "of the index\n",
	       s->crew.killed, s->crew.readings);
	printf("          the dead left %" PRIu64 " files half done, with %" PRIu64
	       " postings of %.2f MiB in the index\n",
	       s->files.left_files, s->files.left_postings, mib(s->files.left_bytes));
}

/* All that was ever allocated is reachable now, or was collected. */
static void print_speed(const struct summary *s)
{
	uint64_t objects = s->files.objects + s->index.objects + s->info.gc_freed_objects;
	double seconds = s->crew.build_seconds + s->crew.update_seconds;

	printf("allocated %" PRIu64 " objects, %.1f MiB, in %.2f s: %.2f million a second, reading and all\n",
	       objects, mib(summary_reachable(s) + s->info.gc_freed), seconds,
	       seconds > 0 ? (double)objects / 1e6 / seconds : 0);
}

static void print_check(const struct summary *s)
{
	const struct check_report *c = &s->check;

	printf("commonest %s\n", c->top);
	if (c->sample[0])
		printf("sample    %s\n", c->sample);
	printf("checked   %u commonest words, %u drawn by lot, %u by their first letters, %u sets of words: %" PRIu64
	       " places, %s (readers %.1f s, grep %.1f s)\n",
	       c->commonest, c->words, c->beginnings, c->sets, c->places,
	       c->differs ? "NOT AS GREP SAYS" : "all as grep says", c->reader_seconds, c->grep_seconds);
}

void summary_print(const struct summary *s, const struct options *options)
{
	print_crew(s, options);
	print_files(s);
	printf("words     %" PRIu64 " different ones, %" PRIu64 " postings, %" PRIu64 " places\n",
	       s->index.words, s->index.postings, s->index.places);
	print_heap(s);
	if (s->private && s->info.collecting)
		print_speed(s);
	print_collections(s);
	print_check(s);
	printf("verify    %s: %" PRIu64 " pages, %" PRIu64 " spans, %" PRIu64 " slabs\n",
	       s->verify.faults ? "FAULTS" : "clean", s->verify.pages, s->verify.spans, s->verify.slabs);
	fflush(stdout);
}
