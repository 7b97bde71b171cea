/* SPDX-License-Identifier: MIT */
/* weather.h - what happens to a client between its calls. */
#ifndef HEAPD_CRASH_WEATHER_H
#define HEAPD_CRASH_WEATHER_H

#include "scene.h"

/* One thing, drawn from the seed. The scene's heap is attached. */
void weather(struct scene *s, uint64_t *seed);
/* All calls are the C library's again. */
void weather_clear(void);

/* corners.c: a thread's words as they are where its barrier is on still, its ring is full, or nothing was logged of late. */
void corner_barrier(const struct scene *s);
void corner_ring(const struct scene *s);
void corner_filter(void);
/* ... and where a processor clears by 16 bytes. */
void corner_narrow(struct scene *s);

#endif
