/* SPDX-License-Identifier: MIT */
/*
 * report.c - owns the text: tables that align on a terminal and are Markdown.
 *
 * Right because whatever stands in it was measured or asked of the machine in this run: a figure that is not
 * there is a dash, an allocator that is not there is named.
 */
#include "report.h"

#include <stddef.h>
#include <string.h>

#include "goals.h"
#include "steps.h"

static const char method[] =
	"\nFigures are nanoseconds per operation, medians of the rounds. An operation is an object allocated and freed; "
	"in\n\"alloc\", allocated. n < processors: each process's wall time, less what it waited for a processor; else "
	"the wall time\nof all, times the processors that they could use, by all operations.\n"
	"Included everywhere: the system calls that an allocator makes, and writing each object's first word. Not "
	"included:\nfirst touch; each loop runs before it is timed (\"faults\" shows what page faults were left, per 1000 "
	"operations).\n\"zeroed\" says who zeroes: heapd itself, a memset() in the loop, or nobody. \"x\" is the quotient by "
	"heapd with as\nmany processes. \"spread\" is (max - min) / median of the rounds, the widest of the row. Mallocs have "
	"one process,\nor (t) as many threads of one as the others have processes.\n\n";

static void header_write(const struct report *rep, FILE *f)
{
	const struct machine *m = &rep->machine;

	fprintf(f, "# heapd and other allocators\n\n");
	fprintf(f, "%s; %u processors, %.0f GiB; %s\n", m->cpu, m->processors, m->memory, m->kernel);
	fprintf(f, "Transparent huge pages: %s; of shared memory: %s\n", m->huge, m->shmem_huge);
	fprintf(f, "%s; load averages at the start: %s; used by others meanwhile: %.0f%% of the processors\n",
		m->date, m->load, m->others > 0 ? m->others : 0);
	fprintf(f, "%u rounds, contenders in turn within each cell; %.0f seconds in all\n\n",
		rep->plan->rounds, rep->seconds);
	for (int i = 0; i < rep->plan->ncontenders; i++) {
		const struct bench_hello *h = &rep->plan->contenders[i].hello;

		for (unsigned e = 0; e < rep->results->nentrants; e++) {
			const struct entrant *x = &rep->results->entrants[e];

			if (x->contender != i || x->threads)
				continue;
			fprintf(f, "- %s %s (%s)\n", x->name, h->version, h->library);
			break;
		}
	}
	if (*rep->plan->missing)
		fprintf(f, "- missing: %s\n", rep->plan->missing);
	fprintf(f, "%s", method);
}

static const struct samples *rival_of(const struct results *r, const struct entrant *e, uint32_t loop,
				      uint32_t size)
{
	return results_at(r, results_find(r, "heapd", e->procs, false, false), loop, size);
}

static void cell_text(const struct results *r, const struct entrant *e, uint32_t loop, uint32_t size,
		      bool full, char *text, size_t room)
{
	const struct samples *s = results_at(r, e, loop, size);
	struct spread ns = spread_ns(s), ratio = spread_ratio(s, rival_of(r, e, loop, size));
	int n;

	if (s->failed) {
		snprintf(text, room, "%.20s", strerrorname_np(s->failed));
		return;
	}
	if (!ns.n) {
		snprintf(text, room, "-");
		return;
	}
	n = snprintf(text, room, "%.1f", ns.median);
	if (full)
		n += snprintf(text + n, room - (size_t)n, " (%.1f..%.1f)", ns.min, ns.max);
	if (ratio.n && strcmp(e->name, "heapd") != 0)
		snprintf(text + n, room - (size_t)n, " x%.2f", ratio.median);
}

/* The widest relative spread of a row's cells, in percent, and its most page faults per 1000 operations. */
static void row_worst(const struct results *r, const struct entrant *e, uint32_t loop, double *spread,
		      double *faults)
{
	*spread = *faults = 0;
	for (size_t i = 0; i < BENCH_SIZES; i++) {
		const struct samples *s = results_at(r, e, loop, bench_sizes[i]);
		struct spread ns = spread_ns(s);
		double f = samples_median(s, offsetof(struct bench_answer, faults)) * 1000;

		if (ns.n && (ns.max - ns.min) / ns.median * 100 > *spread)
			*spread = (ns.max - ns.min) / ns.median * 100;
		*faults = f > *faults ? f : *faults;
	}
}

static const char *zeroed_text(const struct entrant *e)
{
	return e->zeroes ? "itself" : e->zero ? "memset" : "no";
}

static bool any_measured(const struct results *r, const struct entrant *e, uint32_t loop)
{
	for (size_t i = 0; i < BENCH_SIZES; i++)
		if (results_at(r, e, loop, bench_sizes[i])->n ||
		    results_at(r, e, loop, bench_sizes[i])->failed)
			return true;
	return false;
}

static void row_write(const struct results *r, const struct entrant *e, uint32_t loop, FILE *f, bool full)
{
	double spread, faults;
	char text[64];

	fprintf(f, "| %-18s | %u%c | %-6s |", e->label, e->procs, e->threads ? 't' : ' ', zeroed_text(e));
	for (size_t i = 0; i < BENCH_SIZES; i++) {
		cell_text(r, e, loop, bench_sizes[i], full, text, sizeof(text));
		fprintf(f, " %*s |", full ? 30 : 15, text);
	}
	row_worst(r, e, loop, &spread, &faults);
	if (!full)
		fprintf(f, " %5.0f%% |", spread);
	fprintf(f, " %6.2f |\n", faults);
}

/* What the daemon does for a loop it does on another processor, if one is free: said apart. */
static void daemon_write(const struct results *r, uint32_t loop, FILE *f)
{
	const char *lead =
		"heapd's daemon used besides, ns of processor time per operation, by processes and size: ";

	for (unsigned procs = 1; procs <= BENCH_PROCS; procs *= 2) {
		const struct entrant *e = results_find(r, "heapd", procs, false, false);

		if (!e || !any_measured(r, e, loop))
			continue;
		fprintf(f, "%s%u:", lead, procs);
		for (size_t i = 0; i < BENCH_SIZES; i++)
			fprintf(f, " %.1f",
				samples_median(results_at(r, e, loop, bench_sizes[i]),
					       offsetof(struct bench_answer, daemon_ns)));
		lead = "; ";
	}
	if (*lead == ';')
		fprintf(f, "\n\n");
}

static void loop_write(const struct results *r, uint32_t loop, FILE *f, bool full)
{
	int width = full ? 30 : 15;

	fprintf(f, "## %s: %s\n\n", bench_loop_name(loop), bench_loop_text(loop));
	fprintf(f, "| %-18s | n  | zeroed |", "");
	for (size_t i = 0; i < BENCH_SIZES; i++)
		fprintf(f, " %*s |", width, bench_size_name(bench_sizes[i]));
	fprintf(f, "%s faults |\n|%.20s|----|--------|", full ? "" : " spread |", "--------------------");
	for (size_t i = 0; i < BENCH_SIZES; i++)
		fprintf(f, "%.*s:|", width + 1, "--------------------------------");
	fprintf(f, "%s-------:|\n", full ? "" : "-------:|");
	for (unsigned i = 0; i < r->nentrants; i++)
		if (any_measured(r, &r->entrants[i], loop))
			row_write(r, &r->entrants[i], loop, f, full);
	fprintf(f, "\n");
	daemon_write(r, loop, f);
}

static void touch_write(const struct results *r, FILE *f)
{
	static const char *const huge[] = { "never", "auto" };

	fprintf(f, "## touch: 256 MiB of 64-byte objects, memory that the daemon has committed\n\n");
	fprintf(f,
		"Nanoseconds per object, zeroed: by a process that has never touched the memory, then again by the "
		"same process\n(warm; more than any cache holds). Page faults are of the first time.\n\n");
	fprintf(f, "| HugePages | never touched           | warm                    | faults | grown by |\n");
	fprintf(f, "|-----------|------------------------:|------------------------:|-------:|---------:|\n");
	for (unsigned i = 0; i < 2; i++) {
		struct spread first = spread_of(r->touch[i].first, r->touch[i].n);
		struct spread warm = spread_of(r->touch[i].warm, r->touch[i].n);

		if (!first.n)
			continue;
		fprintf(f, "| %-9s | %7.2f (%5.2f..%6.2f) | %7.2f (%5.2f..%6.2f) | %6.0f | %4.0f MiB |\n",
			huge[i], first.median, first.min, first.max, warm.median, warm.min, warm.max,
			spread_of(r->touch[i].faults, r->touch[i].n).median, r->touch[i].grown / (1 << 20));
	}
	fprintf(f, "\n");
}

static void attach_write(const struct results *r, FILE *f)
{
	static const char *const what[] = { "heapd_attach()", "process that attaches",
					    "process that does not" };
	const double *values[] = { r->attach.call, r->attach.with, r->attach.without };

	fprintf(f, "## attach: %u fresh processes, in turn with and without attaching\n\n", r->attach.n);
	fprintf(f, "| microseconds          | median |    min |     max |\n");
	fprintf(f, "|-----------------------|-------:|-------:|--------:|\n");
	for (size_t i = 0; i < 3; i++) {
		struct spread s = spread_of(values[i], r->attach.n);

		fprintf(f, "| %-21s | %6.0f | %6.0f | %7.0f |\n", what[i], s.median / 1e3, s.min / 1e3,
			s.max / 1e3);
	}
	fprintf(f, "\n");
}

static void goals_write(const struct results *r, FILE *f)
{
	struct goal goals[BENCH_GOALS];
	unsigned n = goals_compute(r, goals);

	fprintf(f, "## Goals\n\n");
	for (unsigned i = 0; i < n; i++) {
		const struct goal *g = &goals[i];

		fprintf(f, "goal: %s: at %s %g%s; ", g->text, g->at_least ? "least" : "most", g->limit,
			g->unit);
		if (g->measured.n)
			fprintf(f, "measured %.2f%s (%.2f..%.2f): %s\n", g->measured.median, g->unit,
				g->measured.min, g->measured.max, goal_met(g) ? "met" : "missed");
		else
			fprintf(f, "not measured\n");
	}
	fprintf(f, "\n");
}

static void detail_write(const struct results *r, const struct entrant *e, uint32_t loop, uint32_t size,
			 FILE *f)
{
	const struct samples *s = results_at(r, e, loop, size);
	struct spread ns = spread_ns(s), ratio = spread_ratio(s, rival_of(r, e, loop, size));

	if (!ns.n)
		return;
	fprintf(f, "| %s | %s | %s | %u | %s | %.2f | %.2f | %.2f | %.2f | %.1f | %.1f | %.3f | %.3f |\n",
		bench_loop_name(loop), bench_size_name(size), e->name, e->procs, zeroed_text(e), ns.median,
		ns.min, ns.max, ratio.n ? ratio.median : 0,
		samples_median(s, offsetof(struct bench_answer, cpu_ns)),
		samples_median(s, offsetof(struct bench_answer, daemon_ns)),
		samples_median(s, offsetof(struct bench_answer, faults)) * 1000,
		samples_median(s, offsetof(struct bench_answer, waits)) * 1000);
}

static void details_write(const struct results *r, FILE *f)
{
	fprintf(f,
		"## All figures\n\nns per operation; faults and waits (times a process slept) per 1000; 0 in \"x "
		"heapd\": there is none to compare with; cpu is not told apart in alloc.\n\n");
	fprintf(f,
		"| loop | size | who | n | zeroed | median | min | max | x heapd | cpu | daemon | faults | waits |\n");
	fprintf(f, "|---|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
	for (uint32_t loop = 0; loop < BENCH_LOOPS; loop++)
		for (size_t i = 0; i < BENCH_SIZES; i++)
			for (unsigned e = 0; e < r->nentrants; e++)
				detail_write(r, &r->entrants[e], loop, bench_sizes[i], f);
}

void report_text(const struct report *rep, FILE *f, bool full)
{
	const struct results *r = rep->results;

	header_write(rep, f);
	for (uint32_t loop = 0; loop < BENCH_LOOPS; loop++) {
		bool any = false;

		for (unsigned e = 0; e < r->nentrants; e++)
			any |= any_measured(r, &r->entrants[e], loop);
		if (any)
			loop_write(r, loop, f, full);
	}
	steps_write(r, f);
	if (r->touch[0].n || r->touch[1].n)
		touch_write(r, f);
	if (r->attach.n)
		attach_write(r, f);
	goals_write(r, f);
	if (full)
		details_write(r, f);
}
