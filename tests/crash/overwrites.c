/* SPDX-License-Identifier: MIT */
/*
 * overwrites.c - owns the operations of a hardened heap in which it is found that memory was written by somebody who had no right to.
 */
#include <string.h>

#include "conditions.h"

#define BYTES 400 /* of a size that nobody else uses */

static void prepare_past_end(struct scene *s)
{
	for (unsigned i = 0; i < 4; i++) {
		char *p = heapd_alloc(s->heap, BYTES);

		memset(p + heapd_size(p), 0x55, 4);
		s->others[i] = p;
	}
}

static void past_end(struct scene *s)
{
	for (unsigned i = 0; i < 4; i++)
		heapd_free(s->others[i]);
}

static void prepare_freed(struct scene *s)
{
	for (unsigned i = 0; i < 8; i++)
		s->others[i] = heapd_alloc(s->heap, BYTES);
	for (unsigned i = 0; i < 8; i++) {
		heapd_free(s->others[i]);
		memset(s->others[i], 0x55, 8);
	}
}

static void freed(struct scene *s)
{
	for (unsigned i = 0; i < 80; i++)
		use(heapd_alloc(s->heap, BYTES));
}

static void prepare_twice(struct scene *s)
{
	for (unsigned i = 0; i < 4; i++)
		s->others[i] = heapd_alloc(s->heap, BYTES);
	s->object = heapd_alloc(s->heap, 100000);
}

static void twice(struct scene *s)
{
	heapd_free(s->others[0]);
	heapd_free(s->others[0]);
	heapd_free((char *)s->others[1] + 8);
	heapd_free((char *)s->object + 16);
	heapd_free(s->object);
	heapd_free(s->object);
	use(heapd_alloc(s->heap, 32768));
	use(heapd_alloc_leaf(s->heap, 32760));
}

const struct operation overwrites[] = {
	{ .name = "free-past-end",
	  .prepare = prepare_past_end,
	  .run = past_end,
	  .barriers = ALL,
	  .spoils = true },
	{ .name = "alloc-spoilt", .prepare = prepare_freed, .run = freed, .barriers = ONCE, .spoils = true },
	OPERATION("free-twice", prepare_twice, twice, IN_MAIN, ALL),
	{ 0 },
};
