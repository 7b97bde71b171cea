/* SPDX-License-Identifier: MIT */
/* What is written of a run: a text that is Markdown too, and JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdio.h>

#include "machine.h"
#include "plan.h"
#include "samples.h"

struct report {
	const struct plan *plan;
	const struct results *results;
	struct machine machine;
	double seconds; /* that it all took */
};

/* full: each figure's spread, and all figures once more, one a line. */
void report_text(const struct report *report, FILE *f, bool full);
void report_json(const struct report *report, FILE *f);

#endif
