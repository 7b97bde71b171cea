/* SPDX-License-Identifier: MIT */
/*
 * reserved.c - owns the places of heaps that are kept and not open: those that the configuration does not name just now, and those
 * that could not be adopted. A new heap that took such a place would be kept there, and the other one could never be opened again:
 * pointers in it are addresses.
 *
 * Right because no place is known but from a directory, which daemons alone write; and because where something lies already, this
 * daemon has it, so that no new heap comes there either.
 */
#include "reserved.h"

#include <errno.h>
#include <stdlib.h>

#include "heap.h"
#include "recover.h"

int reserved_find(struct reserved *reserved, const struct store *store)
{
	*reserved = (struct reserved){ .ranges = calloc(store->nitems + 1, sizeof(*reserved->ranges)) };
	if (!reserved->ranges)
		return -ENOMEM;
	for (size_t i = 0; i < store->nitems; i++) {
		struct reserved_range *r = &reserved->ranges[reserved->n];

		reserved->n += recover_place(store, i, &r->base, &r->bytes);
	}
	return 0;
}

void reserved_take(struct reserved *reserved)
{
	size_t n = reserved->n;

	reserved->n = 0;
	for (size_t i = 0; i < n; i++)
		if (heap_reserve(reserved->ranges[i].base, reserved->ranges[i].bytes) == 0)
			reserved->ranges[reserved->n++] = reserved->ranges[i];
}

void reserved_leave(struct reserved *reserved)
{
	while (reserved->n) {
		const struct reserved_range *r = &reserved->ranges[--reserved->n];

		heap_unreserve(r->base, r->bytes);
	}
	free(reserved->ranges);
	reserved->ranges = NULL;
}
