/* SPDX-License-Identifier: MIT */
/*
 * objects.c - owns the verbs that ask about single objects: retained, why, who, dot.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"
#include "sites.h"
#include "table.h"
#include "tree.h"
#include "verbs.h"

#define DOT_STEPS 2u
#define DOT_MOST  200u
#define HELD_MAX  96

/* Whether a stands before b in the list: more retained, or met earlier. */
static bool top_before(const struct tree *t, uint32_t a, uint32_t b)
{
	return t->retained[a] != t->retained[b] ? t->retained[a] > t->retained[b] : a < b;
}

/* A heap of n numbers whose first is the last of the list: the one at `at`, which may stand too high, goes down. */
static void top_sift(const struct tree *t, uint32_t *top, uint32_t n, uint32_t at)
{
	for (uint32_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
		uint32_t moved = top[at];

		if (child + 1 < n && top_before(t, top[child], top[child + 1]))
			child++;
		if (!top_before(t, moved, top[child]))
			return;
		top[at] = top[child];
		top[child] = moved;
		at = child;
	}
}

/* The numbers of those that retain most, the most first. */
static uint32_t retained_top(const struct tree *t, uint32_t *top, uint32_t most)
{
	uint32_t n = t->n - 1 < most ? t->n - 1 : most;

	for (uint32_t i = 0; i < n; i++)
		top[i] = i + 2;
	for (uint32_t i = n / 2; i; i--)
		top_sift(t, top, n, i - 1);
	for (uint32_t v = n + 2; n && v <= t->n; v++) {
		if (!top_before(t, v, top[0]))
			continue;
		top[0] = v;
		top_sift(t, top, n, 0);
	}
	for (uint32_t left = n; left > 1; left--) {
		uint32_t last = top[0];

		top[0] = top[left - 1];
		top[left - 1] = last;
		top_sift(t, top, left - 1, 0);
	}
	return n;
}

static int retained_print(const struct ctl *ctl, const struct graph *g, const struct tree *t)
{
	static const struct table_column columns[] = { { "OBJECT", TABLE_TEXT },
						       { "SIZE", TABLE_BYTES },
						       { "RETAINED", TABLE_BYTES },
						       { "KEPT BY", TABLE_TEXT } };
	uint32_t *top = calloc(ctl->top, sizeof(*top)), n;
	struct table table;
	int status = top ? TABLE_BEGIN(&table, ctl, "retained", columns)
			 : ctl_say(CTL_TROUBLE, "out of memory");

	n = status == CTL_OK ? retained_top(t, top, ctl->top) : 0;
	for (uint32_t i = 0; i < n; i++) {
		table_row(&table);
		table_text(&table, graph_text(g, t->node[top[i]]).text);
		table_number(&table, graph_node(g, t->node[top[i]]).size);
		table_number(&table, t->retained[top[i]]);
		table_text(&table, graph_text(g, t->node[t->idom[top[i]]]).text);
	}
	free(top);
	return status == CTL_OK ? table_print(&table) : status;
}

int verb_retained(struct ctl *ctl)
{
	struct graph g;
	struct tree t;
	int status = graph_load(&g, ctl);

	if (status != CTL_OK)
		return status;
	status = tree_walk(&t, &g);
	if (status == CTL_OK)
		status = tree_dominate(&t, &g);
	if (status == CTL_OK)
		status = retained_print(ctl, &g, &t);
	tree_free(&t);
	graph_free(&g);
	return status;
}

/* The graph and the object that the first argument names. */
static int object_load(struct graph *g, const struct ctl *ctl, uint32_t *node)
{
	uint64_t address;
	int status;

	if (!ctl_number(ctl->args[0], &address))
		return ctl_say(CTL_USAGE, "'%s' is no address", ctl->args[0]);
	status = graph_load(g, ctl);
	if (status != CTL_OK)
		return status;
	*node = graph_find(g, address);
	if (*node != GRAPH_NONE)
		return CTL_OK;
	graph_free(g);
	return ctl_say(CTL_FOUND,
		       "heap '%s': no root that this user may know of leads to what is at 0x%" PRIx64,
		       ctl->heap->name, address);
}

static int no_room(void)
{
	return ctl_say(CTL_TROUBLE, "no room for the walk: %s (TMPDIR says where it goes)", strerror(errno));
}

/* By breadth: from[node] is 1 + the node by way of which it is reached first. Room for all nodes, twice. */
static void paths_find(const struct graph *g, uint32_t until, uint32_t *from)
{
	uint32_t *queue = from + g->n, head = 0, tail = 1;

	queue[0] = 0;
	while (head < tail && !from[until]) {
		uint32_t node = queue[head++];

		for (uint64_t e = g->offsets[node]; e < g->offsets[node + 1]; e++) {
			uint32_t to = g->edges[e];

			if (!to || from[to])
				continue;
			from[to] = 1 + node;
			queue[tail++] = to;
		}
	}
}

static uint32_t edge_word(const struct graph *g, uint32_t node, uint32_t to)
{
	for (uint64_t e = g->offsets[node]; e < g->offsets[node + 1]; e++)
		if (g->edges[e] == to)
			return g->words[e];
	return 0;
}

/* By what the row before it holds it. */
static void held_text(const struct graph *g, uint32_t from, uint32_t node, char text[HELD_MAX])
{
	uint32_t word = edge_word(g, from, node);

	if (from >= g->base)
		snprintf(text, HELD_MAX, "at byte %" PRIu64, word * UINT64_C(8));
	else if (from && g->roots[from - 1].session)
		snprintf(text, HELD_MAX,
			 word == 0   ? "a pin"
			 : word == 1 ? "a range"
				     : "the stack of thread record %u%s",
			 (word & ~GRAPH_PAST) - 2, word & GRAPH_PAST ? ", as one past its end" : "");
	else
		snprintf(text, HELD_MAX, "%s", from ? g->roots[from - 1].name : "-");
}

/* The profile of --profile, and which of its samples are of an object. */
struct allocators {
	Pprof__Profile *profile; /* NULL: there is none */
	struct pprof_objects objects;
};

static int allocators_load(struct allocators *a, const struct ctl *ctl)
{
	int status = ctl->profile ? pprof_read(&a->profile, ctl->profile) : CTL_OK;

	return status == CTL_OK && a->profile ? pprof_objects_find(&a->objects, a->profile) : status;
}

static void allocators_free(struct allocators *a)
{
	pprof_objects_free(&a->objects);
	pprof_free(a->profile);
}

/*
 * Who allocated the object, if the profile has a sample of it. The daemon keeps the mark of a sample until the slot is given
 * out again, so a sample of an object that was there before is not taken for it.
 */
static void allocated_text(const struct ctl *ctl, const struct allocators *a, uint64_t address,
			   char text[512])
{
	const Pprof__Sample *sample = pprof_objects_at(&a->objects, address);
	struct slot_state state;
	int64_t pid = 0, cycle = 0;
	char *stack;

	snprintf(text, 512, "-");
	if (!sample || !slot_look(ctl, address, &state) || !state.out || !state.sampled)
		return;
	pprof_label(a->profile, sample, "pid", &pid);
	pprof_label(a->profile, sample, "cycle", &cycle);
	stack = site_stack(a->profile, sample);
	snprintf(text, 512, "%.400s (process %lld, in cycle %lld)", stack ? stack : "?", (long long)pid,
		 (long long)cycle);
	free(stack);
}

/* The path backwards becomes the path forwards: next[at] is the one behind it. The first one after node 0. */
static uint32_t path_turn(const uint32_t *from, uint32_t *next, uint32_t node)
{
	uint32_t at = node;

	for (next[at] = 0; from[at] > 1; at = from[at] - 1)
		next[from[at] - 1] = at;
	return at;
}

/* `from` as paths_find() left it, and the room behind it. */
static int path_print(const struct ctl *ctl, const struct graph *g, uint32_t *from, uint32_t node,
		      const struct allocators *allocators)
{
	static const struct table_column columns[] = { { "OBJECT", TABLE_TEXT },
						       { "SIZE", TABLE_BYTES },
						       { "HELD BY", TABLE_TEXT },
						       { "ALLOCATED BY", TABLE_TEXT } };
	uint32_t *next = from + g->n;
	char held[HELD_MAX], allocated[512];
	struct table t;
	/* The last column is for those who have a profile. */
	int status = table_begin(&t, ctl, "path", columns, allocators->profile ? 4 : 3);

	if (status != CTL_OK)
		return status;
	for (uint32_t at = path_turn(from, next, node); at; at = next[at]) {
		held_text(g, from[at] - 1, at, held);
		table_row(&t);
		table_text(&t, graph_text(g, at).text);
		table_number(&t, graph_node(g, at).size);
		table_text(&t, held);
		allocated_text(ctl, allocators, graph_node(g, at).address, allocated);
		table_text(&t, allocated);
	}
	return table_print(&t);
}

int verb_why(struct ctl *ctl)
{
	struct allocators allocators = { 0 };
	struct store store = { .fd = -1 };
	uint32_t node, *from = NULL;
	struct graph g = { 0 };
	int status = allocators_load(&allocators, ctl);

	if (status == CTL_OK)
		status = object_load(&g, ctl, &node);
	if (status == CTL_OK) {
		from = store_make(&store, g.n * 8ull);
		if (from)
			paths_find(&g, node, from);
		status = from ? path_print(ctl, &g, from, node, &allocators) : no_room();
		graph_free(&g);
	}
	store_free(&store);
	allocators_free(&allocators);
	return status;
}

/* Who points to each node, one after the other: those of node v from before[at[v]] up to at[v + 1]. */
static void before_find(const struct graph *g, uint64_t *at, uint32_t *before)
{
	for (uint64_t e = 0; e < g->nedges; e++)
		at[g->edges[e]]++;
	for (uint32_t v = 1; v <= g->n; v++)
		at[v] += at[v - 1];
	/* Filled from the end of each, which then is its begin. */
	for (uint32_t v = 0; v < g->n; v++)
		for (uint64_t e = g->offsets[v]; e < g->offsets[v + 1]; e++)
			before[--at[g->edges[e]]] = v;
}

/* Marks all that lead to the node, against the pointers. */
static void reach_mark(const struct graph *g, uint32_t node, const uint64_t *at, const uint32_t *before,
		       uint32_t *seen)
{
	uint32_t *queue = seen + g->n, head = 0, tail = 1;

	queue[0] = node;
	seen[node] = 1;
	while (head < tail) {
		uint32_t v = queue[head++];

		for (uint64_t e = at[v]; e < at[v + 1]; e++) {
			if (seen[before[e]])
				continue;
			seen[before[e]] = 1;
			queue[tail++] = before[e];
		}
	}
}

static int who_print(const struct ctl *ctl, const struct graph *g, const uint32_t *seen)
{
	static const struct table_column columns[] = { { "REACHED BY", TABLE_TEXT },
						       { "SESSION", TABLE_COUNT } };
	uint32_t found = 0;
	struct table t;
	int status = TABLE_BEGIN(&t, ctl, "who", columns);

	if (status != CTL_OK)
		return status;
	for (uint32_t i = 1; i < g->base; i++) {
		if (!seen[i])
			continue;
		found++;
		table_row(&t);
		table_text(&t, graph_text(g, i).text);
		table_number(&t, g->roots[i - 1].session);
	}
	status = table_print(&t);
	return status == CTL_OK && !found ? CTL_FOUND : status;
}

int verb_who(struct ctl *ctl)
{
	struct store store;
	uint64_t *at;
	uint32_t node, *seen = NULL;
	struct graph g;
	int status = object_load(&g, ctl, &node);

	if (status != CTL_OK)
		return status;
	at = store_make(&store, (g.n + 1ull) * 16 + g.nedges * 4);
	if (at) {
		seen = (uint32_t *)(at + g.n + 1);
		before_find(&g, at, seen + g.n * 2ull);
		reach_mark(&g, node, at, seen + g.n * 2ull, seen);
	}
	status = at ? who_print(ctl, &g, seen) : no_room();
	store_free(&store);
	graph_free(&g);
	return status;
}

static void dot_node(FILE *f, const struct graph *g, uint32_t node, bool middle)
{
	fprintf(f, "\tn%u [label=\"%s\\n%s\"%s];\n", node, graph_text(g, node).text,
		text_bytes(graph_node(g, node).size).text,
		middle           ? ", style=filled"
		: node < g->base ? ", shape=oval"
				 : "");
}

/* Marks those at most so many steps away, against and along the pointers; at most DOT_MOST. */
static void dot_mark(const struct graph *g, uint8_t *marks, uint32_t steps)
{
	uint32_t marked = 1;

	for (uint32_t step = 1; step <= steps; step++) {
		for (uint32_t v = 1; v < g->n && marked < DOT_MOST; v++) {
			for (uint64_t e = g->offsets[v]; e < g->offsets[v + 1] && marked < DOT_MOST; e++) {
				uint32_t to = g->edges[e];
				bool along = marks[v] && marks[v] <= step && !marks[to];
				bool against = marks[to] && marks[to] <= step && !marks[v];

				if (along)
					marks[to] = (uint8_t)(step + 1);
				if (against)
					marks[v] = (uint8_t)(step + 1);
				marked += along + against;
			}
		}
	}
}

static int dot_print(FILE *f, const struct graph *g, uint32_t node, uint32_t steps)
{
	struct store store;
	uint8_t *marks = store_make(&store, g->n);

	if (!marks)
		return no_room();
	marks[node] = 1;
	dot_mark(g, marks, steps);
	fputs("digraph heap {\n\tnode [shape=box, fontname=monospace];\n", f);
	for (uint32_t v = 1; v < g->n; v++)
		if (marks[v])
			dot_node(f, g, v, v == node);
	for (uint32_t v = 1; v < g->n; v++)
		for (uint64_t e = g->offsets[v]; marks[v] && e < g->offsets[v + 1]; e++)
			if (marks[g->edges[e]])
				fprintf(f, "\tn%u -> n%u [label=\"%" PRIu64 "\"];\n", v, g->edges[e],
					v < g->base ? 0 : g->words[e] * UINT64_C(8));
	fputs("}\n", f);
	store_free(&store);
	return CTL_OK;
}

int verb_dot(struct ctl *ctl)
{
	uint64_t steps = DOT_STEPS;
	uint32_t node;
	struct graph g;
	FILE *f = stdout;
	int status;

	if (ctl->nargs > 1 && (!ctl_number(ctl->args[1], &steps) || steps > 20))
		return ctl_say(CTL_USAGE, "usage: heapctl dot ADDRESS [STEPS], with at most 20 steps");
	status = object_load(&g, ctl, &node);
	if (status != CTL_OK)
		return status;
	if (ctl->output)
		f = fopen(ctl->output, "we");
	status = f ? dot_print(f, &g, node, (uint32_t)steps)
		   : ctl_say(CTL_TROUBLE, "%s: %s", ctl->output, strerror(errno));
	if (f && f != stdout && fclose(f) != 0)
		status = ctl_say(CTL_TROUBLE, "%s: %s", ctl->output, strerror(errno));
	graph_free(&g);
	return status;
}
