/* SPDX-License-Identifier: MIT */
/* ends.h - daemons that are asked to end, and are killed at each store of that. */
#ifndef HEAPD_CRASH_ENDS_H
#define HEAPD_CRASH_ENDS_H

#include "run.h"

/* Until several ends in a row have come to nothing new, and what they come to has had its death; or until the run is over. */
void ends_run(struct run *run);

#endif
