/* SPDX-License-Identifier: MIT */
/*
 * layout.h - which words of an object may be pointers: by its class, as the collector sees it.
 */
#ifndef HEAPCTL_LAYOUT_H
#define HEAPCTL_LAYOUT_H

#include "ctl.h"

struct layout {
	const uint64_t *map; /* NULL: there is none */
	uint32_t bits;       /* words that the map speaks of */
	uint32_t period;     /* words after which it begins again; 0: never */
	uint32_t flex;       /* from this word on every one may be; UINT32_MAX: nowhere */
	uint32_t type;
	bool none, every;
};

struct layout layout_of(const struct ctl *ctl, uint32_t class);

static inline bool layout_has(const struct layout *l, uint64_t word)
{
	if (l->none || l->every)
		return l->every;
	if (l->period)
		word %= l->period;
	if (word >= l->flex)
		return true;
	return word < l->bits && l->map[word / 64] >> (word % 64) & 1;
}

#endif
