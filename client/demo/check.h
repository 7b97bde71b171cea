/* SPDX-License-Identifier: MIT */
/*
 * check.h - whether the index answers as grep does.
 */
#pragma once

#include "options.h"
#include "schema.h"

#define CHECK_TOP 20

struct check_report {
	unsigned commonest, words, sets; /* asked for */
	unsigned beginnings;             /* different words compared because they begin so */
	uint64_t places;                 /* compared */
	bool differs;
	double reader_seconds, grep_seconds;
	char top[256];    /* the commonest words, for people */
	char sample[512]; /* one question and its answer */
};

/*
 * Starts readers and grep, and compares what they say: 0, with the report; -EINTR as in child.h; other errors, after
 * having said why, if an answer could not be had. A difference is said at once.
 */
int check_run(const struct options *options, const struct table *table, struct check_report *report);
