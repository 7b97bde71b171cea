/* SPDX-License-Identifier: MIT */
/*
 * Nodes of the stress: objects that say what they are. A node's id is random and never used twice, its low byte says
 * which structure it belongs to; the sum is made of the id and another word, and written once, at birth. Who
 * keeps a node to himself remembers its id outside the heap: a slot that was given to another is seen at once.
 *
 * Garbage of the same sizes, with sums that are wrong, is made all the time: what was taken back by mistake does
 * not stay as it was for long.
 */
#ifndef HEAPD_STRESS_NODE_H
#define HEAPD_STRESS_NODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "heapd.h"

#define NODE_LINKS 5u /* of a node of the fixed type; any node has as many or more */

struct node {
	uint64_t id, sum;
	uint64_t info; /* of a child: its owner's id */
	heapd_ptr(struct node) links[];
};

struct node_fixed {
	uint64_t id, sum, info;
	heapd_ptr(struct node) links[NODE_LINKS];
};

/* Which structure, in an id's low byte. */
enum home {
	HOME_LIST = 1,
	HOME_QUEUE,
	HOME_SOUP,
	HOME_OWN,
	HOME_CHILD,
	HOME_CHAIN,
	HOME_HOT,
	HOME_TREE,
	HOME_BUCKET = 128, /* and the bucket's number */
};

/* What all processes of the stress share beside the heap. */
struct stress {
	_Atomic bool stop, failed;
	_Atomic uint64_t steps, checks, ids;
	uint64_t seed;
	char what[256];
};

/* A thread of the stress. It stands on the thread's stack. */
struct actor {
	heapd_heap *heap;
	heapd_type *fixed, *flex;
	struct table *table;
	struct stress *stress;
	uintptr_t inverted_deep; /* the end of the table's chain, which never changes */
	uint64_t random;
	uint64_t steps, checks;
	_Atomic uint64_t *forks; /* of this process, begun so far */
};

uint64_t node_random(struct actor *a);

/* A new one, of a random kind of object; NULL only if the heap is full. */
struct node *node_new(struct actor *a, enum home home, uint64_t info);
/* ... of 64 bytes, all of them used. */
struct node *node_new_fixed(struct actor *a, enum home home, uint64_t info);
/* ... with so many links. */
struct node *node_new_flex(struct actor *a, enum home home, unsigned links);
void node_garbage(struct actor *a, unsigned n);

/* Says what is wrong with the node and ends the process, if it is not of that home; id 0: any. */
void node_check(struct actor *a, const struct node *n, unsigned home, uint64_t id, const char *where);

void stress_fail(struct stress *stress, const char *where, const void *object, uint64_t is, uint64_t expected)
	__attribute__((noreturn));

/* Overwrites what earlier calls left below this frame, and in registers. */
void stack_wipe(void);

#endif
