/* SPDX-License-Identifier: MIT */
/*
 * Clearing a large object: through the cache or past it.
 *
 * A store reads its line first, unless it goes past the cache. Where the memory has not been used for long that read is most of what
 * clearing costs: 75 us a MiB, and 25 past the cache; who then writes all of it pays it there, and altogether the same (100 us), as what
 * was cleared first has left the cache by then. Where the object has just been used it is the other way round: 15 us, 25 past the
 * cache, and 110 instead of 35 with the writing. So it is looked at where the last ones lay: one that comes back to an
 * address, with less than a cache's worth of others since, is cleared where it is. (An EPYC in a virtual machine, huge pages.)
 *
 * Right either way, as the bytes are the same; whoever is killed in the middle leaves what nobody has seen.
 */
#include "clear.h"

#include <string.h>

#include "heapd/stream.h"

#define PAST_CACHE_MIN \
	(256ul << 10)           /* below, it may well still be in the nearest cache when it is first used */
#define CACHE_BYTES (8ul << 20) /* what may be one processor's share of the last one */

static bool was_recent(const struct clear_past *past, uint32_t next, uint64_t at, uint64_t bytes)
{
	for (uint32_t i = 1; i <= CLEAR_LAST && bytes <= CACHE_BYTES; i++) {
		uint32_t k = (next - i) % CLEAR_LAST;

		if (atomic_load_explicit(&past->last[k].at, memory_order_relaxed) == at)
			return true;
		bytes += atomic_load_explicit(&past->last[k].bytes, memory_order_relaxed);
	}
	return false;
}

bool clear_is_cold(struct clear_past *past, uint64_t at, uint64_t bytes)
{
	uint32_t next = atomic_fetch_add_explicit(&past->next, 1, memory_order_relaxed);
	bool recent = was_recent(past, next, at, bytes);

	atomic_store_explicit(&past->last[next % CLEAR_LAST].at, at, memory_order_relaxed);
	atomic_store_explicit(&past->last[next % CLEAR_LAST].bytes, bytes, memory_order_relaxed);
	return bytes >= PAST_CACHE_MIN && !recent;
}

void clear_large(struct clear_past *past, void *object, uint64_t bytes)
{
	uint64_t done = 0;

	if (clear_is_cold(past, (uint64_t)(uintptr_t)object, bytes))
		done = heapd_stream_clear(object, bytes);
	memset((char *)object + done, 0, bytes - done);
}
