/* SPDX-License-Identifier: MIT */
/* For tests of who follows pointers: objects of all kinds, drawn at random. Odd words of each are fields, even ones are none. */
#ifndef HEAPD_TESTS_DRAWN_H
#define HEAPD_TESTS_DRAWN_H

#include "attached.h"
#include "numbers.h"

struct node {
	uint64_t number; /* no pointer, whatever it looks like */
	heapd_ptr(struct node) left;
	uint64_t more;
	heapd_ptr(struct node) right;
};

struct flex {
	uint64_t n;
	heapd_ptr(struct node) first;
	heapd_ptr(struct node) tail[];
};

static heapd_type *nodes, *flexes;
static uint64_t seed;

static inline void types_define(void)
{
	nodes = heapd_type_define(heap, "node", struct node, left, right);
	flexes = heapd_type_define_flex(heap, "flex", struct flex, tail, first);
	ck_assert_ptr_nonnull(nodes);
	ck_assert_ptr_nonnull(flexes);
}

/* Of *n words, an even number; some are large, and some have no fields after all. */
static inline struct node **object_draw(size_t *n)
{
	size_t many = 4 + 2 * (random_next(&seed) % 20);
	void *o;

	*n = many;
	switch (random_next(&seed) % 6) {
	case 0:
		*n = many * 4;
		o = heapd_new_array(nodes, struct node, many);
		break;
	case 1:
		o = heapd_new_flex(flexes, struct flex, tail, many - 2);
		break;
	case 2:
		o = heapd_alloc(heap, many * 8);
		break;
	case 3:
		o = heapd_alloc_leaf(heap, many * 8);
		break;
	case 4:
		*n = random_next(&seed) % 8 ? many : 5000;
		o = heapd_alloc(heap, *n * 8);
		break;
	default:
		*n = 4;
		o = heapd_new(nodes, struct node);
	}
	ck_assert_msg(o != NULL, "%s", heapd_error());
	return (struct node **)o;
}

#endif
