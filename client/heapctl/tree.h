/* SPDX-License-Identifier: MIT */
/*
 * tree.h - what is reached from the roots, by which way, and what would go if an object went.
 */
#ifndef HEAPCTL_TREE_H
#define HEAPCTL_TREE_H

#include "graph.h"

struct tree {
	struct store store;
	uint32_t n;         /* nodes reached */
	uint32_t *number;   /* by node: in the order of a depth-first walk, from 1; 0: not reached */
	uint32_t *node;     /* by number */
	uint32_t *parent;   /* by number: the walk's */
	uint32_t *idom;     /* by number: its immediate dominator's number; 0 of the first */
	uint64_t *retained; /* by number: bytes of what it dominates, its own included */
};

/* The walk alone: number, node, parent. An exit status. */
int tree_walk(struct tree *t, const struct graph *g);
/* Dominators and what they retain, by Lengauer and Tarjan, with path compression. An exit status. */
int tree_dominate(struct tree *t, const struct graph *g);
void tree_free(struct tree *t);

/*
 * What the root, which is not node 0, reaches, in bytes. `seen` and `queue` have room for all nodes; all of `seen` is 0 at
 * first, and is left to the next call for another root.
 */
uint64_t tree_reached(const struct graph *g, uint32_t root, uint32_t *seen, uint32_t *queue);

#endif
