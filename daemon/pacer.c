/* SPDX-License-Identifier: MIT */
/*
 * Owns the arithmetic of pacing.
 *
 * The goal is Go's: live bytes and GCPercent= of them more. It is cut to nine tenths of the memory limit, but never
 * below what is left after the sweep and a sixteenth of it: a heap whose live objects fill the limit is not
 * collected without end, it is refused memory. The trigger lies before the goal by what is allocated while a cycle
 * runs, twice over, at most half of the way: a cycle that comes too late makes nobody wait, since
 * supply alone slows allocation, and only at the limit.
 */
#include "pacer.h"

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

struct pace pacer_plan(const struct pace_input *input)
{
	uint64_t growth = most(input->live / 100 * input->percent, PACER_LEAST), floor, goal, runway;
	double ahead = 2.0 * (double)input->rate * (double)input->cycle_ns / 1e9;

	floor = most(input->left, input->live);
	floor += most(floor / 16, PACER_LEAST / 4);
	goal = least(input->live + growth, input->limit / 10 * 9);
	goal = most(goal, floor);
	runway = ahead < (double)goal ? (uint64_t)ahead : goal;
	runway = least(runway, (goal - least(input->left, goal)) / 2);
	return (struct pace){ .goal = goal, .trigger = goal - runway };
}

uint64_t pacer_death_rest_ns(uint64_t cycle_ns)
{
	return 4 * cycle_ns;
}
