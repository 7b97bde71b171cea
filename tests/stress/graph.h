/* SPDX-License-Identifier: MIT */
/*
 * The shared graph: lists, a hash map, a queue, trees, and a soup of nodes that point anywhere, all without locks.
 */
#ifndef HEAPD_STRESS_GRAPH_H
#define HEAPD_STRESS_GRAPH_H

#include "node.h"

#define GRAPH_LISTS   8u
#define GRAPH_BUCKETS 64u
#define GRAPH_SOUP    256u
#define GRAPH_HOT     4u
#define GRAPH_COOL    64u
#define GRAPH_TREES   4u
#define GRAPH_DEEP    1500u
#define GRAPH_AGES \
	512u /* places at the end of the chain: so many that what lies there grows older than a cycle */

struct table {
	heapd_ptr(struct node) lists[GRAPH_LISTS];
	heapd_ptr(struct node) buckets[GRAPH_BUCKETS];
	heapd_ptr(struct node) soup[GRAPH_SOUP];
	heapd_ptr(struct node) head;
	heapd_ptr(struct node) tail;
	heapd_ptr(struct node) deep; /* leads to the end of a long chain, which is marked late */
	heapd_ptr(struct node) hot[GRAPH_HOT];
	heapd_ptr(struct node) cool[GRAPH_COOL];
	heapd_ptr(struct node) trees[GRAPH_TREES];
};

/* Defines the types and finds the table, or makes it. -errno. */
int graph_open(struct actor *a);
/* A chain by links[0]: its head, which holds it, and the complement of its end. NULL: no memory. */
struct node *graph_chain(struct actor *a, unsigned length, unsigned links, uintptr_t *inverted_end);
/* One random operation. */
void graph_step(struct actor *a);

#endif
