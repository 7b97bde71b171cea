/* SPDX-License-Identifier: MIT */
/* What an allocation and its free cost, taken apart: the programs bare*, each one step of heapd's more than the last. */
#ifndef BENCH_STEPS_H
#define BENCH_STEPS_H

#include <stdio.h>

#include "samples.h"

/* Programs, first the least; ends with NULL. */
extern const char *const steps_names[];

void steps_write(const struct results *r, FILE *f);

#endif
