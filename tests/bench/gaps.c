/* SPDX-License-Identifier: MIT */
/*
 * gaps.c - owns the histogram and the clock of one thread.
 *
 * Right because since the last look at both clocks all gaps were short, so what the thread lacks in processor time
 * since then, up to those short ones, it lost in this gap.
 */
#include "gaps.h"

#include <stdio.h>
#include <time.h>

#include "cell.h"

#define LONG_NS 5000u

static unsigned step_of(uint64_t ns)
{
	if (ns < GAPS_STEPS)
		return (unsigned)ns;
	unsigned shift = 59u - (unsigned)__builtin_clzll(ns);

	return (shift + 1) * GAPS_STEPS + (unsigned)(ns >> shift) % GAPS_STEPS;
}

/* The greatest time of that step. */
static uint64_t step_end(unsigned step)
{
	unsigned shift = step / GAPS_STEPS ? step / GAPS_STEPS - 1 : 0;
	uint64_t first = step / GAPS_STEPS ? GAPS_STEPS + step % GAPS_STEPS : step;

	return ((first + 1) << shift) - 1;
}

void gaps_add(struct gaps *g, uint64_t ns)
{
	g->n++;
	g->sum += ns;
	g->max = ns > g->max ? ns : g->max;
	g->counts[step_of(ns)]++;
}

void gaps_merge(struct gaps *to, const struct gaps *from)
{
	to->n += from->n;
	to->sum += from->sum;
	to->max = from->max > to->max ? from->max : to->max;
	for (unsigned i = 0; i < sizeof(to->counts) / sizeof(to->counts[0]); i++)
		to->counts[i] += from->counts[i];
}

uint64_t gaps_permille(const struct gaps *g, unsigned permille)
{
	uint64_t seen = 0, wanted = (g->n * permille + 999) / 1000;

	for (unsigned i = 0; i < sizeof(g->counts) / sizeof(g->counts[0]); i++) {
		seen += g->counts[i];
		if (seen >= wanted && seen)
			return bench_min(step_end(i), g->max);
	}
	return 0;
}

void gaps_print(const struct gaps *g, const char *what, const char *name, const char *live)
{
	printf("%s %s %s %llu %.2f %.2f %.2f %.2f %.2f\n", what, name, live, (unsigned long long)g->n,
	       g->n ? (double)g->sum / (double)g->n / 1e3 : 0, (double)gaps_permille(g, 990) / 1e3,
	       (double)gaps_permille(g, 999) / 1e3, (double)g->max / 1e3,
	       (double)gaps_permille(g, 500) / 1e3);
}

uint64_t gap_cpu_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void gap_begin(struct gap_clock *c)
{
	c->cpu = gap_cpu_now();
	c->last = c->wall = bench_now();
}

static uint64_t gap_own(struct gap_clock *c, uint64_t gap, uint64_t now)
{
	uint64_t cpu = gap_cpu_now(), used = cpu - c->cpu, passed = now - c->wall;
	uint64_t lost = passed > used ? passed - used : 0;

	c->cpu = cpu;
	c->last = c->wall = bench_now();
	return gap > lost ? gap - lost : 0;
}

uint64_t gap_step(struct gap_clock *c)
{
	uint64_t now = bench_now(), gap = now - c->last;

	c->last = now;
	gaps_add(&c->all, gap);
	gaps_add(&c->own, gap < LONG_NS ? gap : gap_own(c, gap, now));
	return c->last;
}
