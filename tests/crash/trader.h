/* SPDX-License-Identifier: MIT */
/* trader.h - a client that takes slabs in the classes that others are stopped in, and gives them back, whenever it is told to. */
#ifndef HEAPD_CRASH_TRADER_H
#define HEAPD_CRASH_TRADER_H

#include "scene.h"

pid_t trader_start(struct scene *s);
/* It does a round, and this waits for it. few: in few classes, where what is freed does not come back. */
void trader_round(struct scene *s, bool few);
/* It holds nothing from now until its next round. */
void trader_drop(struct scene *s);

#endif
