/* SPDX-License-Identifier: MIT */
/*
 * The shared graph: lists, a hash map, a queue, and a soup of nodes that point anywhere, all without locks.
 */
#ifndef HEAPD_STRESS_GRAPH_H
#define HEAPD_STRESS_GRAPH_H

#include "node.h"

#define GRAPH_LISTS   8u
#define GRAPH_BUCKETS 64u
#define GRAPH_SOUP    256u

struct table {
	heapd_ptr(struct node) lists[GRAPH_LISTS];
	heapd_ptr(struct node) buckets[GRAPH_BUCKETS];
	heapd_ptr(struct node) soup[GRAPH_SOUP];
	heapd_ptr(struct node) head;
	heapd_ptr(struct node) tail;
};

/* Defines the types and finds the table, or makes it. -errno. */
int graph_open(struct actor *a);
/* One random operation. */
void graph_step(struct actor *a);

#endif
