/* SPDX-License-Identifier: MIT */
/*
 * supplies.c - owns the operations in which supply is taken, kept and given back: watched by probes, with all places for spares taken, with
 * the heap or the user's share at its limit.
 */
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "../fixture.h"
#include "conditions.h"
#include "heapd/session.h"
#include "heapd/sizeclass.h"

/* Probes ------------------------------------------------------------------------------------------------------------- */

static void prepare_sampled(struct scene *s)
{
	probes_on();
	prepare_fields(s);
	prepare_free_wrong(s); /* what is freed twice is none of the witness's size */
}

static void sampled(struct scene *s)
{
	for (unsigned i = 0; i < 60; i++)
		use(heapd_alloc(s->heap, 30000));
	for (unsigned i = 0; i < 6; i++)
		use(heapd_alloc(s->heap, 1000000));
	heapd_free(s->others[0]);
	heapd_free(s->others[0]);
}

#define SLOW_SHOWN 4096u /* of so many slow allocations one is shown */

/* The next few slow allocations have one among them that is shown. */
static void prepare_slow(struct scene *s)
{
	probes_on();
	for (unsigned i = 0; i < SLOW_SHOWN - 8; i++)
		drain(s, 16);
}

static void slow(struct scene *s)
{
	for (unsigned i = 0; i < 16 * 64; i++)
		use(heapd_alloc(s->heap, 16));
}

/* Spares ------------------------------------------------------------------------------------------------------------- */

static void prepare_full(struct scene *s)
{
	spares_fill(s, HEAPD_SPARE_COUNT);
}

static void one_more(struct scene *s)
{
	for (unsigned i = 0; i < 20; i++) {
		use(heapd_alloc_leaf(s->heap, 2000));
		use(heapd_alloc_leaf(s->heap, 5000));
	}
}

/* More batches than there is room for to hand them back at once. */
static void leave_full(struct scene *s)
{
	heapd_thread_detach(s->heap);
}

static void detach_full(struct scene *s)
{
	heapd_detach(s->heap);
}

/* Freed slots are kept for oneself, of many slabs ---------------------------------------------------------------------- */

static void prepare_keep(struct scene *s)
{
	static void *kept[600];

	for (unsigned i = 0; i < 600; i++)
		kept[i] = heapd_alloc(s->heap, 80);
	memcpy(s->others, kept + 40, sizeof(s->others));
	s->arena = (heapd_arena *)(void *)kept;
}

static void keep(struct scene *s)
{
	void **kept = (void **)(void *)s->arena;

	for (unsigned i = 0; i < 600; i += 3)
		heapd_free(kept[i]);
}

const struct operation supplies[] = {
	/* In a hardened heap each word that is free is looked at. */
	{ .name = "sampled", .prepare = prepare_sampled, .run = sampled, .barriers = ONCE, .long_way = true },
	OPERATION("sampled-slow", prepare_slow, slow, IN_MAIN, ONCE),
	OPERATION("spares-full", prepare_full, one_more, IN_MAIN, ONCE),
	OPERATION("leave-full", prepare_full, leave_full, IN_MAIN, ONCE),
	OPERATION("detach-full", prepare_full, detach_full, IN_MAIN, ONCE),
	OPERATION("free-keep", prepare_keep, keep, IN_MAIN, ONCE),
	{ 0 },
};
