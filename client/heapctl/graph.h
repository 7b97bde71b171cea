/* SPDX-License-Identifier: MIT */
/*
 * graph.h - the objects of a heap and the pointers between them, as a walk found them.
 *
 * Nobody is stopped for it. So it is consistent with no one moment: each word is what it was when it was read. The
 * walk goes from the roots along the pointers, by breadth, and reads an object once, when it comes to it.
 *
 * So an object to which a way leads, from a root on, of which no word changes from the walk's begin to its end, is met: by
 * induction along that way. Its own words that did not change either are its edges. Such an object is never given up
 * meanwhile, nor is the span that it lies in; so its address, size and class are right. Missed may be what was moved from a
 * place not yet read to one that had been, and what hangs on it alone; seen may be what became garbage meanwhile. Where
 * its place was given out anew, the node is the old object until it is read, and the new one from then on; where its
 * whole span has gone, it has no size any more. Roots: the named ones, and for each session that this user may know of its
 * pins, and its registered ranges and its threads' stacks as the last collection found them.
 *
 * Node 0 is the root of all; then come one node for each named root, one for each session, and then the objects as
 * they were met, by breadth.
 */
#ifndef HEAPCTL_GRAPH_H
#define HEAPCTL_GRAPH_H

#include "layout.h"
#include "spans.h"
#include "store.h"

#define GRAPH_NONE UINT32_MAX
#define GRAPH_PAST \
	(UINT32_C(1) << 31) /* in the word of a stack's edge: it leads to one past the object's end */

struct graph_root {
	char name[HEAPD_NAME_MAX + 40];
	uint64_t session; /* 0: a named root */
};

struct graph {
	const struct ctl *ctl;
	struct spans spans;
	struct store nodes_store, pages_store, edges_store, words_store;
	uint32_t *pages;   /* by page: 1 + place of its span in the list */
	uint32_t *numbers; /* by slot, spans' order: its node, or 0 */
	uint64_t *address; /* by node */
	uint32_t *span;    /* by node: place in the list */
	uint64_t *offsets; /* by node: where its edges begin */
	uint32_t *edges;
	uint32_t *words; /* by edge: which word of the object holds it */
	uint64_t nedges, room;
	struct graph_root *roots;
	struct layout *layouts; /* by class */
	uint32_t nroots;
	uint32_t base; /* the first object's node: 1 + nroots */
	uint32_t n;    /* nodes */
	uint64_t most; /* slots, and nodes, that there is room for */
};

/* An exit status, after saying why. */
int graph_load(struct graph *g, const struct ctl *ctl);
void graph_free(struct graph *g);

/* The node of the object that the address lies in; GRAPH_NONE: none that was met. */
uint32_t graph_find(struct graph *g, uint64_t address);

struct graph_node {
	const struct span_copy *span; /* NULL: a root */
	uint64_t address, size;       /* 0: it has gone since it was met */
};
struct graph_node graph_node(const struct graph *g, uint32_t node);

/* For people: "root shop", "order 0x11000..." */
struct graph_text {
	char text[160];
};
struct graph_text graph_text(const struct graph *g, uint32_t node);

#endif
