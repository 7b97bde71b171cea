/* SPDX-License-Identifier: MIT */
/*
 * samples.c - owns medians, spreads and finding what was measured.
 *
 * Right because answers are only added, in the order of rounds: the i-th answer of every cell is of round i.
 */
#include "samples.h"

#include <stdlib.h>
#include <string.h>

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread spread_of(const double *values, unsigned n)
{
	double *sorted = n ? malloc(n * sizeof(*sorted)) : NULL;
	struct spread s = { 0 };

	if (!sorted)
		return s;
	memcpy(sorted, values, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), compare_doubles);
	s.n = n;
	s.min = sorted[0];
	s.max = sorted[n - 1];
	s.median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
	free(sorted);
	return s;
}

static double answer_number(const struct bench_answer *answer, size_t offset)
{
	return *(const double *)(const void *)((const char *)answer + offset);
}

double samples_median(const struct samples *s, size_t offset)
{
	double values[BENCH_ROUNDS];

	for (unsigned i = 0; i < s->n; i++)
		values[i] = answer_number(&s->answers[i], offset);
	return spread_of(values, s->n).median;
}

struct spread spread_ns(const struct samples *s)
{
	double values[BENCH_ROUNDS];

	for (unsigned i = 0; i < s->n; i++)
		values[i] = s->answers[i].ns;
	return spread_of(values, s->n);
}

struct spread spread_ratio(const struct samples *a, const struct samples *b)
{
	unsigned n = a->n < b->n ? a->n : b->n;
	double values[BENCH_ROUNDS];

	for (unsigned i = 0; i < n; i++)
		values[i] = a->answers[i].ns / b->answers[i].ns;
	return spread_of(values, n);
}

const struct entrant *results_find(const struct results *r, const char *name, unsigned procs, bool zero,
				   bool threads)
{
	for (unsigned i = 0; i < r->nentrants; i++) {
		const struct entrant *e = &r->entrants[i];

		if (!strcmp(e->name, name) && e->procs == procs && e->zero == zero && e->threads == threads)
			return e;
	}
	return NULL;
}

const struct samples *results_at(const struct results *r, const struct entrant *e, uint32_t loop,
				 uint32_t size)
{
	static const struct samples none;
	size_t i = 0;

	if (!e)
		return &none;
	while (bench_sizes[i] != size)
		i++;
	return &r->samples[e - r->entrants][loop][i];
}
