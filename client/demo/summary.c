/* SPDX-License-Identifier: MIT */
/*
 * summary.c - owns the page that is printed at the end.
 *
 * Garbage, mostly left by the dead, is what is allocated and cannot be reached. In a heap that nobody else uses
 * that is a subtraction; in a shared one only the postings that were found without a winner are known.
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

static void print_heap(const struct summary *s)
{
	uint64_t objects = s->files.objects + s->index.objects + s->index.lost_postings;
	uint64_t bytes = s->private ? s->verify.allocated
				    : s->files.bytes_held + s->index.bytes + s->index.lost_bytes;
	double seconds = s->crew.seconds > 0 ? s->crew.seconds : 1;

	printf("heap      %" PRIu64
	       " objects, %.1f MiB allocated (%.2f million objects, %.0f MiB a second), by %s\n",
	       objects, mib(bytes), (double)objects / seconds / 1e6, mib(bytes) / seconds,
	       s->info.path == HEAPD_PATH_RSEQ ? "restartable sequences" : "compare-and-swap");
	printf("          %.1f MiB committed, %.1f MiB of it supplied ahead\n", mib(s->info.committed),
	       mib(s->info.in_rings));
}

static uint64_t garbage(const struct summary *s)
{
	uint64_t reachable = s->files.bytes_held + s->index.bytes;

	if (!s->private)
		return s->index.lost_bytes;
	return s->verify.allocated > reachable ? s->verify.allocated - reachable : 0;
}

static void print_dead(const struct summary *s)
{
	printf("killed    %u workers, each replaced; %" PRIu64
	       " postings of theirs do not count: the files were redone\n",
	       s->crew.killed, s->index.lost_postings);
	printf("garbage   %s%.2f MiB are allocated and nothing leads to them%s\n",
	       s->private ? "" : "at least ", mib(garbage(s)),
	       s->info.collecting ? "" : "; collection is off, so they stay until the heap ends");
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
	printf("index     built by %u workers in %.2f s, seed %" PRIu64 "\n", options->workers,
	       s->crew.seconds, options->seed);
	print_files(s);
	printf("words     %" PRIu64 " different ones, %" PRIu64 " postings, %" PRIu64 " places\n",
	       s->index.words, s->index.postings, s->index.places);
	print_heap(s);
	print_dead(s);
	print_check(s);
	printf("verify    %s: %" PRIu64 " pages, %" PRIu64 " spans, %" PRIu64 " slabs\n",
	       s->verify.faults ? "FAULTS" : "clean", s->verify.pages, s->verify.spans, s->verify.slabs);
	fflush(stdout);
}
