/* SPDX-License-Identifier: MIT */
/*
 * goals.c - owns the goals: which figures each compares, and how.
 *
 * Right because a goal names its limit and its cells and nothing else; what was measured is only looked up. Each
 * quotient is made round by round and its median taken.
 */
#include "goals.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct list {
	const struct results *r;
	struct goal *goals;
	unsigned n;
};

static void goal_add(struct list *l, struct goal goal, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void goal_add(struct list *l, struct goal goal, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(goal.text, sizeof(goal.text), format, args);
	va_end(args);
	l->goals[l->n++] = goal;
}

static const struct samples *cell(const struct list *l, const char *name, unsigned procs, uint32_t loop,
				  uint32_t size)
{
	return results_at(l->r, results_find(l->r, name, procs, false, false), loop, size);
}

/* Everything heapd hands out is zeroed; what mimalloc hands out here is not. */
static void goals_of_speed(struct list *l)
{
	const struct samples *pair = cell(l, "mimalloc", 1, BENCH_PAIR, 64);
	const struct samples *burst = cell(l, "mimalloc", 1, BENCH_BURST, 64);
	const struct samples *alloc = cell(l, "heapd", 1, BENCH_ALLOC, 64);

	goal_add(l, (struct goal){ .limit = 0.6, .measured = spread_ratio(alloc, pair) },
		 "64 bytes, heapd's allocation / mimalloc's malloc and free (alloc / pair)");
	goal_add(l, (struct goal){ .limit = 0.6, .measured = spread_ratio(alloc, burst) },
		 "64 bytes, heapd's allocation / mimalloc's malloc and free (alloc / burst)");
	goal_add(l,
		 (struct goal){ .limit = 0.8,
				.measured = spread_ratio(cell(l, "heapd", 1, BENCH_PAIR, 64), pair) },
		 "64 bytes, heapd's allocation and free / mimalloc's (pair / pair)");
	goal_add(l,
		 (struct goal){ .limit = 0.8,
				.measured = spread_ratio(cell(l, "heapd", 1, BENCH_BURST, 64), burst) },
		 "64 bytes, heapd's allocation and free / mimalloc's (burst / burst)");
}

/* The malloc whose pairs are the fastest, with as many threads of one process. */
static const struct samples *best_malloc(const struct list *l, unsigned procs)
{
	const struct samples *best = NULL;

	for (unsigned i = 0; i < l->r->nentrants; i++) {
		const struct entrant *e = &l->r->entrants[i];
		const struct samples *s = results_at(l->r, e, BENCH_PAIR, 64);
		bool is_malloc = strcmp(e->name, "heapd") && strcmp(e->name, "hardened") &&
				 strcmp(e->name, "boost") && strncmp(e->name, "bare", 4);

		if (is_malloc && e->procs == procs && !e->zero && s->n &&
		    (!best || spread_ns(s).median < spread_ns(best).median))
			best = s;
	}
	return best;
}

static void goals_of_numbers(struct list *l)
{
	for (unsigned procs = 1; procs <= BENCH_PROCS; procs *= 2) {
		const struct samples *best = best_malloc(l, procs);
		struct goal goal = { .limit = 0.5 };

		if (best)
			goal.measured = spread_ratio(cell(l, "heapd", procs, BENCH_ALLOC, 64), best);
		goal_add(
			l, goal,
			"64 bytes, %u processes: heapd's allocation / the best malloc's pair in as many threads",
			procs);
	}
}

/* With as many processes, throughputs are as the inverse of the times per operation. */
static void goal_of_sharing(struct list *l, double least, uint32_t loop, uint32_t size, bool zero)
{
	const struct samples *boost =
		results_at(l->r, results_find(l->r, "boost", BENCH_PROCS, zero, false), loop, size);
	const struct samples *heapd = cell(l, "heapd", BENCH_PROCS, loop, size);

	goal_add(l, (struct goal){ .limit = least, .at_least = true, .measured = spread_ratio(boost, heapd) },
		 "8 processes, throughput of heapd / of Boost.Interprocess%s (%s, %s)",
		 zero ? " and memset" : "", bench_loop_name(loop), bench_size_name(size));
}

/* Where objects are large, zeroing them is most of the work: there, both zero. */
static void goals_of_sharing(struct list *l)
{
	static const uint32_t loops[] = { BENCH_PAIR, BENCH_BURST, BENCH_PASS };

	goal_of_sharing(l, 100, BENCH_PAIR, 64, false);
	goal_of_sharing(l, 100, BENCH_BURST, 64, false);
	for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
		goal_of_sharing(l, 20, loops[i], 64, false);
		goal_of_sharing(l, 20, loops[i], BENCH_MIX, false);
		goal_of_sharing(l, 20, loops[i], BENCH_MIX, true);
		goal_of_sharing(l, 20, loops[i], 4096, true);
	}
}

static void goals_of_touch(struct list *l)
{
	double quotients[BENCH_ROUNDS], differences[BENCH_ROUNDS];
	unsigned n = l->r->touch[1].n;

	for (unsigned i = 0; i < n; i++)
		quotients[i] = l->r->touch[1].first[i] / l->r->touch[1].warm[i];
	goal_add(l, (struct goal){ .limit = 2, .measured = spread_of(quotients, n) },
		 "256 MiB of 64 bytes never touched / warm, HugePages=auto");
	n = l->r->touch[0].n;
	for (unsigned i = 0; i < n; i++)
		differences[i] = l->r->touch[0].first[i] - l->r->touch[0].warm[i];
	goal_add(l, (struct goal){ .limit = 12, .unit = " ns", .measured = spread_of(differences, n) },
		 "256 MiB of 64 bytes never touched - warm, HugePages=never");
}

static void goals_of_attach(struct list *l)
{
	unsigned n = l->r->attach.n;
	double call[n + 1], more[n + 1];

	for (unsigned i = 0; i < n; i++) {
		call[i] = l->r->attach.call[i] / 1e6;
		more[i] = (l->r->attach.with[i] - l->r->attach.without[i]) / 1e6;
	}
	goal_add(l, (struct goal){ .limit = 1, .unit = " ms", .measured = spread_of(call, n) },
		 "heapd_attach() in a fresh process");
	goal_add(l, (struct goal){ .limit = 1, .unit = " ms", .measured = spread_of(more, n) },
		 "process that attaches - process that does not, start to end");
}

unsigned goals_compute(const struct results *r, struct goal goals[BENCH_GOALS])
{
	struct list l = { .r = r, .goals = goals };

	goals_of_speed(&l);
	goals_of_numbers(&l);
	goals_of_sharing(&l);
	goals_of_touch(&l);
	goals_of_attach(&l);
	for (unsigned i = 0; i < l.n; i++)
		if (!goals[i].unit)
			goals[i].unit = "";
	return l.n;
}

bool goal_met(const struct goal *goal)
{
	double m = goal->measured.median;

	return goal->measured.n && (goal->at_least ? m >= goal->limit : m <= goal->limit);
}
