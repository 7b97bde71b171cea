/* SPDX-License-Identifier: MIT */
/*
 * coordinator.h - the whole demo, from the daemon to the summary.
 */
#pragma once

#include "options.h"

/* 0: all answers were right; 1: some were not, or verify found faults; -errno after having said why. */
int coordinator_run(const struct options *options);
