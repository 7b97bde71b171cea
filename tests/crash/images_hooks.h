/* SPDX-License-Identifier: MIT */
/*
 * images_hooks.h - what stands in place of functions that the daemon calls: a clock of this program's own, for instance.
 */
#ifndef HEAPD_CRASH_IMAGES_HOOKS_H
#define HEAPD_CRASH_IMAGES_HOOKS_H

#include <stdint.h>

/* From now on the daemon's random numbers come from a seed. */
void hooks_begin(uint64_t seed);

/* So much time passes at once. */
void hooks_pass(uint64_t ns);

#endif
