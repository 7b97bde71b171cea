/* SPDX-License-Identifier: MIT */
/*
 * Owns the counts of foreign words. Right because a table is published by a compare-and-swap that one thread
 * wins, and counts are added atomically; where there is no memory for a table, its counts are lost, no more.
 */
#include "foreign.h"

#include <stdlib.h>
#include <string.h>

#include "heapd/atomic.h"

void foreign_deinit(struct foreign *foreign)
{
	for (uint32_t type = 0; type < HEAPD_TYPE_MAX; type++)
		free(foreign->words[type]);
}

void foreign_clear(struct foreign *foreign)
{
	for (uint32_t type = 0; type < HEAPD_TYPE_MAX; type++)
		if (foreign->words[type])
			memset(&foreign->words[type][1], 0, foreign->words[type][0] * sizeof(uint64_t));
}

static uint64_t *table_make(uint64_t **place, uint64_t n)
{
	uint64_t *table = calloc(n + 1, sizeof(*table)), *other = NULL;

	if (!table)
		return NULL;
	table[0] = n;
	if (__atomic_compare_exchange_n(place, &other, table, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return table;
	free(table);
	return other;
}

void foreign_count(struct foreign *foreign, uint32_t type, uint64_t word, uint64_t n)
{
	uint64_t *table = HEAPD_LOAD_ACQUIRE(&foreign->words[type]);

	if (!table)
		table = table_make(&foreign->words[type], n);
	if (table && word < table[0])
		__atomic_fetch_add(&table[1 + word], 1, __ATOMIC_RELAXED);
}

uint64_t foreign_read(const struct foreign *foreign, uint32_t type, uint64_t word)
{
	const uint64_t *table = type < HEAPD_TYPE_MAX ? HEAPD_LOAD_ACQUIRE(&foreign->words[type]) : NULL;

	return table && word < table[0] ? HEAPD_READ_ONCE(table[1 + word]) : 0;
}

unsigned foreign_list(const struct foreign *foreign, struct foreign_row *rows, unsigned room)
{
	unsigned n = 0;

	for (uint32_t type = 0; type < HEAPD_TYPE_MAX; type++) {
		uint64_t words = foreign->words[type] ? foreign->words[type][0] : 0;

		for (uint32_t word = 0; word < words && n < room; word++) {
			uint64_t count = foreign_read(foreign, type, word);

			if (count)
				rows[n++] = (struct foreign_row){ type, word, count };
		}
	}
	return n;
}
