/* SPDX-License-Identifier: MIT */
/* wanderers.h - processes that wander, as many as the options say. */
#ifndef HEAPD_CRASH_WANDERERS_H
#define HEAPD_CRASH_WANDERERS_H

#include "trial.h"

void wanderers_all(struct trial *run);

#endif
