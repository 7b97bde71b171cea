/* SPDX-License-Identifier: MIT */
/*
 * summary.h - what a run has found out.
 */
#pragma once

#include <heapd.h>
#include <stdbool.h>

#include "check.h"
#include "claims.h"
#include "corpus.h"
#include "crew.h"
#include "postings.h"

struct summary {
	bool private; /* nobody else uses the heap */
	struct corpus corpus;
	struct crew_report crew;
	struct check_report check;
	struct claims_census files;
	struct postings_census index;
	struct heapd_info info;
	struct heapd_verify_result verify;
};

/* Bytes of all objects that the index leads to. */
uint64_t summary_reachable(const struct summary *summary);

void summary_print(const struct summary *summary, const struct options *options);
