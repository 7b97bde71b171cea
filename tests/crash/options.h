/* SPDX-License-Identifier: MIT */
/* options.h - what kill is told on its command line. */
#ifndef HEAPD_CRASH_OPTIONS_H
#define HEAPD_CRASH_OPTIONS_H

#include "trial.h"

/* Ends the program where it is told what there is not. */
void options_read(struct trial_options *o, int argc, char **argv);

#endif
