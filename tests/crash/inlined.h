/* SPDX-License-Identifier: MIT */
/* inlined.h - which of a program's stores are the library's, put there by its header. */
#ifndef HEAPD_CRASH_INLINED_H
#define HEAPD_CRASH_INLINED_H

#include "text.h"

/* Of the program's instructions only those still count as stores that stand in a function of the library's header. */
void inlined_only(const struct text *program);

#endif
