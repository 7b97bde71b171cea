/* SPDX-License-Identifier: MIT */
/* gaps.h - instructions that nobody was killed at, and which of them have a reason. */
#ifndef HEAPD_CRASH_GAPS_H
#define HEAPD_CRASH_GAPS_H

#include <stdio.h>

#include "text.h"

/* Says what was covered, function by function, and what was not; how many instructions have no reason for that. */
unsigned gaps_say(const struct text *text, FILE *to);

/* What earlier runs have covered, from a file that need not be there; and back to it. */
void gaps_read(const struct text *text, const char *path);
void gaps_write(const struct text *text, const char *path);

#endif
