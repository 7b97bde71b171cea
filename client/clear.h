/* SPDX-License-Identifier: MIT */
/*
 * Clearing a large object: through the cache or past it.
 */
#ifndef HEAPD_CLIENT_CLEAR_H
#define HEAPD_CLIENT_CLEAR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CLEAR_LAST 16u

/* Where this process had its last large objects. A hint: threads write it as they come, and who reads half of it clears slower. */
struct clear_past {
	_Atomic uint32_t next;
	struct {
		_Atomic uint64_t at, bytes;
	} last[CLEAR_LAST];
};

/* Notes an object, and says whether what lies there is likely not in the cache any more. */
bool clear_is_cold(struct clear_past *past, uint64_t at, uint64_t bytes);

/* object: on the boundary of a page. */
void clear_large(struct clear_past *past, void *object, uint64_t bytes);

#endif
