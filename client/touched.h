/* SPDX-License-Identifier: MIT */
/* touched.h - which pages of this process's own memory were ever touched: to read the others would make them memory. */
#ifndef HEAPD_CLIENT_TOUCHED_H
#define HEAPD_CLIENT_TOUCHED_H

#include "client.h"

#define TOUCHED_PAGES 64u
#define TOUCHED_THERE 62 /* bits 62 and 63 of an entry: swapped, present */

struct touched {
	int fd;                          /* of the kernel's list; -1: it has none for us */
	uint64_t entries[TOUCHED_PAGES]; /* its words for so many pages, one after the other */
};

/* All are async-signal-safe. What was begun is to be ended: it has a descriptor open. */
hidden void touched_begin(struct touched *t);
hidden void touched_end(const struct touched *t);
/*
 * Looks at the pages from this address on, of which none needs to be mapped: at how many, at most TOUCHED_PAGES; 0 where the kernel
 * does not tell. What happens meanwhile may be seen or not.
 */
hidden uint64_t touched_look(struct touched *t, uint64_t address);

/* Whether the i-th of those was touched. */
static inline bool touched_once(const struct touched *t, uint64_t i)
{
	return t->entries[i] >> TOUCHED_THERE;
}

#endif
