/* SPDX-License-Identifier: MIT */
/*
 * operations.h - what operations of all kinds share, and those of allocations.c, which the table in operations.c names.
 */
#ifndef HEAPD_CRASH_OPERATIONS_H
#define HEAPD_CRASH_OPERATIONS_H

#include "scene.h"

#define ONCE (1u << BARRIER_OFF)
#define ALL  (1u << BARRIER_OFF | 1u << BARRIER_ON | 1u << BARRIER_ON_FIRST)

#define OPERATION(name_, prepare_, run_, where_, barriers_)                               \
	{                                                                                 \
		.name = (name_), .prepare = (prepare_), .run = (run_), .where = (where_), \
		.barriers = (barriers_)                                                   \
	}

#define CUT_OFF(name_, prepare_, run_)                                                                   \
	{                                                                                                \
		.name = (name_), .prepare = (prepare_), .run = (run_), .barriers = ONCE, .cut_off = true \
	}

static volatile uint64_t sink;

/* What came of it is not optimised away. */
static inline void use(const void *p)
{
	sink += (uint64_t)(uintptr_t)p;
}

void drain(struct scene *s, uint64_t bytes);
void one64(struct scene *s);
void drain64(struct scene *s);
void drain3072(struct scene *s);
void drain_spares(struct scene *s);
void one_of_each(struct scene *s);
void alloc_small(struct scene *s);
void alloc_medium(struct scene *s);
void alloc_typed(struct scene *s);
void alloc_typed_large(struct scene *s);
void alloc_aligned(struct scene *s);
void alloc_many(struct scene *s);
void alloc_copies(struct scene *s);
void alloc_large(struct scene *s);
void alloc64(struct scene *s);
void alloc3072(struct scene *s);
void alloc4096(struct scene *s);
void prepare_fresh(struct scene *s);
void alloc_fresh(struct scene *s);
void prepare_turn(struct scene *s);
void alloc256(struct scene *s);
void prepare_burst(struct scene *s);
void burst(struct scene *s);
void prepare_realloc(struct scene *s);
void do_realloc(struct scene *s);
void prepare_realloc_large(struct scene *s);
void realloc_large(struct scene *s);
void prepare_free(struct scene *s);
void free_some(struct scene *s);
void prepare_free_push(struct scene *s);
void free_push(struct scene *s);
void prepare_free_remote(struct scene *s);
void free_remote(struct scene *s);
void prepare_free_large(struct scene *s);
void free_one(struct scene *s);
void prepare_free_wrong(struct scene *s);
void free_wrong(struct scene *s);

#endif
