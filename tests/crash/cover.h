/* SPDX-License-Identifier: MIT */
/* cover.h - which instructions somebody was killed at, from run to run. */
#ifndef HEAPD_CRASH_COVER_H
#define HEAPD_CRASH_COVER_H

#include "text.h"

/* What earlier runs have covered, from a file that need not be there; and back to it. */
void cover_read(const struct text *text, const char *path);
void cover_write(const struct text *text, const char *path);
/* Which of its instructions store. */
void cover_stores(const struct text *text, const char *path);

#endif
