/* SPDX-License-Identifier: MIT */
/*
 * The pacer: when the next cycle is to begin. Numbers only; no state of its own.
 */
#ifndef HEAPD_DAEMON_PACER_H
#define HEAPD_DAEMON_PACER_H

#include <stdint.h>

#define PACER_LEAST (UINT64_C(4) << 20) /* a heap grows by as much at least between two cycles */
#define PACER_AUTO_LEAST \
	100u /* percent: where GCPercent=auto begins, and stays as long as that is little work */
#define PACER_AUTO_MOST 400u

struct pace_input {
	uint64_t live;     /* bytes that the last cycle marked */
	uint64_t left;     /* bytes allocated when it had swept */
	uint64_t limit;    /* bytes that the heap is to stay below */
	unsigned percent;  /* GCPercent=, or what pacer_auto() makes of it */
	uint64_t rate;     /* bytes allocated in a second, of late */
	uint64_t cycle_ns; /* what a cycle takes */
};

struct pace {
	uint64_t goal;    /* the next cycle is to have ended before as much is allocated ... */
	uint64_t trigger; /* ... so it begins when as much is */
};

struct pace pacer_plan(const struct pace_input *input);

/* GCPercent=auto: from one cycle, which began because the heap had grown, or after long, to the next. */
struct pace_load {
	unsigned percent;   /* that it was planned by */
	uint64_t live;      /* bytes that it marked */
	uint64_t limit;     /* as above */
	uint64_t cycle_ns;  /* what it took ... */
	uint64_t period_ns; /* ... of the time since the one before had ended */
};

/* What the next one is to be planned by: PACER_AUTO_LEAST to PACER_AUTO_MOST. */
unsigned pacer_auto(const struct pace_load *load);

/* How long to wait after the end of a cycle that a death asked for before the next such one: they get a fifth of the time. */
uint64_t pacer_death_rest_ns(uint64_t cycle_ns);

#endif
