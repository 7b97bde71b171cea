/* SPDX-License-Identifier: MIT */
/*
 * steps.c - owns the table that takes the cost of a pair, and of a burst, apart.
 *
 * Right because each step is measured by itself, in turn with the others: what a step costs is the median of its
 * differences to the step before, round by round. They need not add up: a processor does several things at once, so that a
 * step may hide behind another, and the noise of both is in a difference.
 */
#include "steps.h"

const char *const steps_names[] = { "bare",       "bare_class", "bare_page", "bare_twice",
				    "bare_owner", "bare_gate",  NULL };

static const char *const steps_texts[] = {
	"restartable sequences, zeroing",
	"+ class and slot size from the size",
	"+ page's record: slab, slot, does one begin there?",
	"+ two words: is it free already, elsewhere?",
	"+ a word: whose slab is it?",
	"+ the collector's gate",
	"heapd: + a library, and a heap that others have",
};

static struct spread spread_more(const struct samples *a, const struct samples *b)
{
	unsigned n = a->n < b->n ? a->n : b->n;
	double values[BENCH_ROUNDS];

	for (unsigned i = 0; i < n; i++)
		values[i] = a->answers[i].ns - b->answers[i].ns;
	return spread_of(values, n);
}

static void number_write(FILE *f, struct spread s, const char *format)
{
	if (s.n)
		fprintf(f, format, s.median);
	else
		fprintf(f, "      - |");
}

static void step_write(const struct results *r, const char *name, const char *before, const char *text,
		       FILE *f)
{
	static const uint32_t loops[] = { BENCH_PAIR, BENCH_BURST };
	const struct entrant *e = results_find(r, name, 1, false, false),
			     *last = before ? results_find(r, before, 1, false, false) : NULL,
			     *peer = results_find(r, "mimalloc", 1, false, false);

	fprintf(f, "| %-50s |", text);
	for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
		const struct samples *s = results_at(r, e, loops[i], 64);

		number_write(f, spread_ns(s), " %6.2f |");
		number_write(f, spread_more(s, results_at(r, last, loops[i], 64)), " %+6.2f |");
		number_write(f, spread_ratio(s, results_at(r, peer, loops[i], 64)), " %6.2f |");
	}
	fprintf(f, "\n");
}

void steps_write(const struct results *r, FILE *f)
{
	const char *before = NULL;
	size_t i;

	if (!results_at(r, results_find(r, steps_names[0], 1, false, false), BENCH_PAIR, 64)->n)
		return;
	fprintf(f, "## steps: what 64 bytes cost, allocated and freed\n\n");
	fprintf(f,
		"Nanoseconds; what is more than the step before (median of the differences); the quotient by "
		"mimalloc's\nmalloc and free. All but the last on private memory of one process.\n\n");
	fprintf(f, "| %-50s | pair   | more   | / mi   | burst  | more   | / mi   |\n", "");
	fprintf(f, "|%.52s|-------:|-------:|-------:|-------:|-------:|-------:|\n",
		"------------------------------------------------------------");
	for (i = 0; steps_names[i]; i++) {
		step_write(r, steps_names[i], before, steps_texts[i], f);
		before = steps_names[i];
	}
	step_write(r, "heapd", before, steps_texts[i], f);
	fprintf(f, "\n");
}
