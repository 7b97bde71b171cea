/* SPDX-License-Identifier: MIT */
/*
 * Owns the arithmetic of pacing.
 *
 * The goal is Go's: live bytes and GCPercent= of them more. It is cut to nine tenths of the memory limit, but never
 * below what is left after the sweep and a sixteenth of it: a heap whose live objects fill the limit is not
 * collected without end, it is refused memory. The trigger lies before the goal by what is allocated while a cycle
 * runs, twice over, at most half of the way: a cycle that comes too late makes nobody wait, since
 * supply alone slows allocation, and only at the limit.
 *
 * With GCPercent=auto memory is spent where it saves work. While a cycle is under way clients pay for every store, and the marker
 * takes a processor; what a cycle takes goes by what is alive, and how often there is one by how much may be allocated in between. So
 * the share of time that is spent in cycles goes by one through the percentage, and the percentage that has the share wanted is found
 * at once; it is gone half of the way to, since both times vary. More than PACER_AUTO_LEAST is taken only up to three quarters of the
 * limit: a heap that is near its limit is paced as ever.
 */
#include "pacer.h"

#define AUTO_SHARE 4u /* of the time, one part in so many is to be spent in cycles at most */

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

/* The percentage by which a heap comes to three quarters of its limit. */
static uint64_t percent_most(const struct pace_load *load)
{
	uint64_t goal = load->limit / 4 * 3, live = most(load->live, 1);

	return goal > live ? (uint64_t)((double)(goal - live) * 100.0 / (double)live) : 0;
}

unsigned pacer_auto(const struct pace_load *load)
{
	double share = (double)load->cycle_ns / (double)most(load->period_ns, 1);
	uint64_t wanted = (uint64_t)((double)load->percent * share * AUTO_SHARE);
	uint64_t next = least((load->percent + wanted) / 2, PACER_AUTO_MOST);

	return (unsigned)most(least(next, percent_most(load)), PACER_AUTO_LEAST);
}

uint64_t pacer_death_rest_ns(uint64_t cycle_ns)
{
	return 4 * cycle_ns;
}
