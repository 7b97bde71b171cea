/* SPDX-License-Identifier: MIT */
/*
 * json.c - owns results.json: every sample, for programs.
 *
 * Right because only numbers and names of our own are written as they are; text from elsewhere is escaped.
 */
#include <stddef.h>

#include "goals.h"
#include "report.h"

static void text_write(FILE *f, const char *text)
{
	fputc('"', f);
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20)
			fprintf(f, "\\u%04x", (unsigned)*text);
		else
			fprintf(f, "%s%c", *text == '"' || *text == '\\' ? "\\" : "", *text);
	}
	fputc('"', f);
}

static void pair_write(FILE *f, const char *key, const char *text)
{
	fprintf(f, "  \"%s\": ", key);
	text_write(f, text);
	fprintf(f, ",\n");
}

static void numbers_write(FILE *f, const char *key, const double *values, unsigned n)
{
	fprintf(f, "\"%s\": [", key);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "%s%.3f", i ? ", " : "", values[i]);
	fprintf(f, "]");
}

static void machine_write(FILE *f, const struct report *rep)
{
	const struct machine *m = &rep->machine;

	pair_write(f, "cpu", m->cpu);
	pair_write(f, "kernel", m->kernel);
	pair_write(f, "transparent_hugepage", m->huge);
	pair_write(f, "transparent_hugepage_shmem", m->shmem_huge);
	pair_write(f, "loadavg", m->load);
	pair_write(f, "date", m->date);
	pair_write(f, "missing", rep->plan->missing);
	fprintf(f, "  \"processors\": %u,\n  \"memory_gib\": %.1f,\n", m->processors, m->memory);
	fprintf(f, "  \"used_by_others_percent\": %.1f,\n", m->others);
	fprintf(f, "  \"rounds\": %u,\n  \"seconds\": %.0f,\n", rep->plan->rounds, rep->seconds);
}

static void cell_write(FILE *f, const struct results *r, const struct entrant *e, uint32_t loop,
		       uint32_t size)
{
	const struct samples *s = results_at(r, e, loop, size);
	double ns[BENCH_ROUNDS];

	for (unsigned i = 0; i < s->n; i++)
		ns[i] = s->answers[i].ns;
	fprintf(f,
		"    {\"loop\": \"%s\", \"size\": \"%s\", \"who\": \"%s\", \"processes\": %u, \"threads\": %s, ",
		bench_loop_name(loop), bench_size_name(size), e->name, e->procs,
		e->threads ? "true" : "false");
	fprintf(f, "\"zeroed\": \"%s\", \"median\": %.3f, ",
		e->zeroes ? "itself"
		: e->zero ? "memset"
			  : "no",
		spread_ns(s).median);
	fprintf(f, "\"cpu_ns\": %.3f, \"daemon_ns\": %.3f, \"faults\": %.6f, \"waits\": %.6f, ",
		samples_median(s, offsetof(struct bench_answer, cpu_ns)),
		samples_median(s, offsetof(struct bench_answer, daemon_ns)),
		samples_median(s, offsetof(struct bench_answer, faults)),
		samples_median(s, offsetof(struct bench_answer, waits)));
	numbers_write(f, "ns", ns, s->n);
	fprintf(f, "}");
}

static void cells_write(FILE *f, const struct results *r)
{
	const char *lead = "\n";

	fprintf(f, "  \"cells\": [");
	for (uint32_t loop = 0; loop < BENCH_LOOPS; loop++) {
		for (size_t i = 0; i < BENCH_SIZES; i++) {
			for (unsigned e = 0; e < r->nentrants; e++) {
				if (!results_at(r, &r->entrants[e], loop, bench_sizes[i])->n)
					continue;
				fprintf(f, "%s", lead);
				cell_write(f, r, &r->entrants[e], loop, bench_sizes[i]);
				lead = ",\n";
			}
		}
	}
	fprintf(f, "\n  ],\n");
}

static void touch_write(FILE *f, const struct results *r)
{
	static const char *const names[] = { "never", "auto" };

	fprintf(f, "  \"touch\": {");
	for (unsigned i = 0; i < 2; i++) {
		fprintf(f, "%s\n    \"%s\": {", i ? "," : "", names[i]);
		numbers_write(f, "first_ns", r->touch[i].first, r->touch[i].n);
		fprintf(f, ", ");
		numbers_write(f, "warm_ns", r->touch[i].warm, r->touch[i].n);
		fprintf(f, ", ");
		numbers_write(f, "faults", r->touch[i].faults, r->touch[i].n);
		fprintf(f, "}");
	}
	fprintf(f, "\n  },\n  \"attach\": {");
	numbers_write(f, "call_ns", r->attach.call, r->attach.n);
	fprintf(f, ",\n    ");
	numbers_write(f, "with_ns", r->attach.with, r->attach.n);
	fprintf(f, ",\n    ");
	numbers_write(f, "without_ns", r->attach.without, r->attach.n);
	fprintf(f, "},\n");
}

static void goals_write(FILE *f, const struct results *r)
{
	struct goal goals[BENCH_GOALS];
	unsigned n = goals_compute(r, goals);

	fprintf(f, "  \"goals\": [");
	for (unsigned i = 0; i < n; i++) {
		const struct goal *g = &goals[i];

		fprintf(f, "%s\n    {\"goal\": ", i ? "," : "");
		text_write(f, g->text);
		fprintf(f, ", \"%s\": %g, ", g->at_least ? "at_least" : "at_most", g->limit);
		if (g->measured.n)
			fprintf(f, "\"measured\": %.3f, \"min\": %.3f, \"max\": %.3f, \"met\": %s}",
				g->measured.median, g->measured.min, g->measured.max,
				goal_met(g) ? "true" : "false");
		else
			fprintf(f, "\"measured\": null}");
	}
	fprintf(f, "\n  ]\n");
}

void report_json(const struct report *report, FILE *f)
{
	fprintf(f, "{\n");
	machine_write(f, report);
	cells_write(f, report->results);
	touch_write(f, report->results);
	goals_write(f, report->results);
	fprintf(f, "}\n");
}
