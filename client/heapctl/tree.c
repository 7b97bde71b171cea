/* SPDX-License-Identifier: MIT */
/*
 * tree.c - owns the walk over a graph and its dominator tree.
 *
 * Lengauer and Tarjan, "A fast algorithm for finding dominators in a flowgraph" (1979), the simple version: each step
 * takes a path's length once and then halves it, so long lists, which heaps have, do not make it quadratic as iterating
 * over them would. Nothing recurses.
 */
#include "tree.h"

#include <errno.h>
#include <string.h>

#include "progress.h"

struct work {
	struct store store;
	uint64_t *from;   /* by number: where its predecessors begin */
	uint32_t *before; /* predecessors, as numbers */
	uint32_t *semi, *ancestor, *label, *bucket, *next, *stack;
};

static int no_room(void)
{
	return ctl_say(CTL_TROUBLE, "no room for the dominator tree: %s (TMPDIR says where it goes)",
		       strerror(errno));
}

static void visit(struct tree *t, uint32_t node, uint32_t parent)
{
	t->number[node] = ++t->n;
	t->node[t->n] = node;
	t->parent[t->n] = parent;
}

static void walk(struct tree *t, const struct graph *g, uint64_t *next, uint32_t *stack)
{
	uint32_t depth = 0;

	visit(t, 0, 0);
	stack[depth] = 0;
	next[0] = g->offsets[0];
	for (;;) {
		uint32_t node = stack[depth];

		if (next[depth] == g->offsets[node + 1]) {
			if (!depth--)
				return;
			continue;
		}
		uint32_t to = g->edges[next[depth]++];
		if (t->number[to])
			continue;
		visit(t, to, t->number[node]);
		stack[++depth] = to;
		next[depth] = g->offsets[to];
	}
}

int tree_walk(struct tree *t, const struct graph *g)
{
	uint64_t room = g->n + 2ull;
	struct store store;
	uint64_t *next = store_make(&store, room * 12);

	*t = (struct tree){ 0 };
	t->retained = next ? store_make(&t->store, room * 24) : NULL;
	if (!t->retained) {
		store_free(&store);
		return no_room();
	}
	t->number = (uint32_t *)(t->retained + room);
	t->node = t->number + room;
	t->parent = t->node + room;
	t->idom = t->parent + room;
	walk(t, g, next, (uint32_t *)(next + room));
	store_free(&store);
	return CTL_OK;
}

void tree_free(struct tree *t)
{
	store_free(&t->store);
}

/* Whom each number is pointed to by, one after the other. */
static void before_find(struct work *w, const struct tree *t, const struct graph *g)
{
	for (uint32_t v = 1; v <= t->n; v++)
		for (uint64_t e = g->offsets[t->node[v]]; e < g->offsets[t->node[v] + 1]; e++)
			w->from[t->number[g->edges[e]] + 1]++;
	for (uint32_t v = 1; v <= t->n + 1; v++)
		w->from[v] += w->from[v - 1];
	w->from[t->n + 2] = w->from[t->n + 1];
	/* Filled from the end of each: afterwards from[v] is its begin, and its end is from[v + 1]. */
	for (uint32_t v = 1; v <= t->n; v++)
		for (uint64_t e = g->offsets[t->node[v]]; e < g->offsets[t->node[v] + 1]; e++)
			w->before[--w->from[t->number[g->edges[e]] + 1]] = v;
}

/* The number with the least semidominator on the way from v up to the root of its forest tree, which is left out. */
static uint32_t eval(struct work *w, uint32_t v)
{
	uint32_t depth = 0, u = v;

	if (!w->ancestor[v])
		return v;
	while (w->ancestor[w->ancestor[u]]) {
		w->stack[depth++] = u;
		u = w->ancestor[u];
	}
	while (depth) {
		uint32_t x = w->stack[--depth], a = w->ancestor[x];

		if (w->semi[w->label[a]] < w->semi[w->label[x]])
			w->label[x] = w->label[a];
		w->ancestor[x] = w->ancestor[a];
	}
	return w->label[v];
}

static void bucket_empty(struct work *w, struct tree *t, uint32_t parent)
{
	for (uint32_t v = w->bucket[parent], next; v; v = next) {
		uint32_t u = eval(w, v);

		next = w->next[v];
		t->idom[v] = w->semi[u] < w->semi[v] ? u : parent;
	}
	w->bucket[parent] = 0;
}

static void dominators(struct work *w, struct tree *t)
{
	struct progress progress;

	for (uint32_t v = 1; v <= t->n; v++)
		w->semi[v] = w->label[v] = v;
	progress_begin(&progress, "dominators");
	for (uint32_t v = t->n; v > 1; v--) {
		if (v % PROGRESS_EVERY == 0)
			progress_step(&progress, t->n - v, t->n);
		for (uint64_t e = w->from[v + 1]; e < w->from[v + 2]; e++) {
			uint32_t u = eval(w, w->before[e]);

			if (w->semi[u] < w->semi[v])
				w->semi[v] = w->semi[u];
		}
		w->next[v] = w->bucket[w->semi[v]];
		w->bucket[w->semi[v]] = v;
		w->ancestor[v] = t->parent[v];
		bucket_empty(w, t, t->parent[v]);
	}
	progress_end(&progress);
	for (uint32_t v = 2; v <= t->n; v++)
		if (t->idom[v] != w->semi[v])
			t->idom[v] = t->idom[t->idom[v]];
}

static void retain(struct tree *t, const struct graph *g)
{
	for (uint32_t v = t->n; v; v--) {
		t->retained[v] += graph_node(g, t->node[v]).size;
		if (v > 1)
			t->retained[t->idom[v]] += t->retained[v];
	}
}

int tree_dominate(struct tree *t, const struct graph *g)
{
	uint64_t room = t->n + 3ull;
	struct work w = { 0 };

	w.from = store_make(&w.store, room * 32 + g->nedges * 4);
	if (!w.from)
		return no_room();
	w.semi = (uint32_t *)(w.from + room);
	w.ancestor = w.semi + room;
	w.label = w.ancestor + room;
	w.bucket = w.label + room;
	w.next = w.bucket + room;
	w.stack = w.next + room;
	w.before = w.stack + room;
	before_find(&w, t, g);
	dominators(&w, t);
	retain(t, g);
	store_free(&w.store);
	return CTL_OK;
}

uint64_t tree_reached(const struct graph *g, uint32_t root, uint32_t *seen, uint32_t *queue)
{
	uint32_t head = 0, tail = 0;
	uint64_t bytes = 0;

	queue[tail++] = root;
	seen[root] = root;
	while (head < tail) {
		uint32_t at = queue[head++];

		bytes += graph_node(g, at).size;
		for (uint64_t e = g->offsets[at]; e < g->offsets[at + 1]; e++) {
			uint32_t to = g->edges[e];

			if (seen[to] == root)
				continue;
			seen[to] = root;
			queue[tail++] = to;
		}
	}
	return bytes;
}
