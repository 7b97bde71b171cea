/* SPDX-License-Identifier: MIT */
/*
 * graph.c - owns the graph of a heap.
 *
 * Right because every number in it is made here: a word of the heap becomes an edge only if it leads into a span that
 * was checked (spans.c), to a slot that is given out, and nothing else that the heap holds is used for an index. Objects
 * are read through the mapping: spans are committed memory, and where one has been given back meanwhile zeroes are read.
 * Spans go, too, and others are cut from their pages: a span's record is compared with the directory's whenever an address
 * leads into it and when an object of it is read, and the pages of those that have gone are looked up anew. A node of one
 * stays, since edges lead to it, but has no size: no two nodes with one lie in the same place.
 * A node's edges are appended when its turn comes, in the order of their numbers, so they lie one after the other.
 */
#include "graph.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heapd/message.h"
#include "layout.h"
#include "progress.h"

#define EDGES_FIRST (1u << 20)
#define PART_STACKS 2u /* of a session: pins, ranges, its threads */
#define PARTS_MOST  (PART_STACKS + HEAPD_THREAD_MAX)
#define SLOTS_MORE  (1u << 20) /* for spans that are cut meanwhile; what is not used costs nothing */

static int no_memory(void)
{
	return ctl_say(CTL_TROUBLE, "no room for the graph: %s (TMPDIR says where it goes)", strerror(errno));
}

static int edge_add(struct graph *g, uint32_t to, uint64_t word)
{
	if (g->nedges == g->room) {
		uint32_t *edges = store_grow(&g->edges_store, g->room * 8);
		uint32_t *words = edges ? store_grow(&g->words_store, g->room * 8) : NULL;

		if (edges)
			g->edges = edges;
		if (!words)
			return no_memory();
		g->words = words;
		g->room *= 2;
	}
	g->words[g->nedges] = word < UINT32_MAX ? (uint32_t)word : UINT32_MAX;
	g->edges[g->nedges++] = to;
	return CTL_OK;
}

static void span_leave(struct graph *g, uint32_t place)
{
	struct span_copy *s = &g->spans.list[place];

	s->gone = true;
	for (uint32_t i = 0; i < s->span.npages; i++)
		if (g->pages[s->page + i] == place + 1)
			g->pages[s->page + i] = 0;
}

static void span_enter(struct graph *g, uint32_t place)
{
	const struct span_copy *s = &g->spans.list[place];

	for (uint32_t i = 0; i < s->span.npages; i++) {
		if (g->pages[s->page + i])
			span_leave(g, g->pages[s->page + i] - 1);
		g->pages[s->page + i] = place + 1;
	}
}

/* Place of the span at the address, or GRAPH_NONE; looks again where there was none. */
static uint32_t span_place(struct graph *g, uint64_t address)
{
	uint64_t page = (address - g->ctl->heap->t.base) >> HEAPD_PAGE_SHIFT;

	if (address - g->ctl->heap->t.base >= g->ctl->heap->t.size)
		return GRAPH_NONE;
	if (g->pages[page] && !span_stands(g->ctl, &g->spans.list[g->pages[page] - 1]))
		span_leave(g, g->pages[page] - 1);
	if (!g->pages[page]) {
		/* Or all words that look like addresses would be looked up in the directory for ever. */
		if (g->spans.n >= UINT32_MAX || !spans_look(g->ctl, &g->spans, page) ||
		    g->spans.slots > g->most)
			return GRAPH_NONE;
		span_enter(g, (uint32_t)g->spans.n - 1);
	}
	return g->pages[page] - 1;
}

/* Where the number of the object at the address stands; NULL: there is no object. */
static uint32_t *slot_number(struct graph *g, uint64_t address, uint32_t *place, uint64_t *start)
{
	const struct span_copy *s;
	uint64_t slot;

	*place = span_place(g, address);
	if (*place == GRAPH_NONE)
		return NULL;
	s = &g->spans.list[*place];
	slot = s->span.nslots == 1 ? 0 : (address - span_address(g->ctl, s)) / s->span.elemsize;
	if (slot >= s->span.nslots || s->first + slot >= g->most)
		return NULL;
	/* None of its slots had ever been given out when it was looked at. */
	if (!s->slabs && !spans_awake(g->ctl, &g->spans, *place))
		return NULL;
	if (!(span_out(g->ctl, s, (uint32_t)(slot / s->span.slab_slots)) >> slot % s->span.slab_slots & 1))
		return NULL;
	*start = span_address(g->ctl, s) + slot * s->span.elemsize;
	return &g->numbers[s->first + slot];
}

uint32_t graph_find(struct graph *g, uint64_t address)
{
	uint32_t place, *number;
	uint64_t start;

	number = slot_number(g, address, &place, &start);
	return number && *number ? *number : GRAPH_NONE;
}

/* The node of the object, a new one if it was not met before; GRAPH_NONE: there is no object, or no room. */
static uint32_t graph_meet(struct graph *g, uint64_t address)
{
	uint32_t place, *number;
	uint64_t start;

	number = slot_number(g, address, &place, &start);
	if (!number || (!*number && g->n >= g->most))
		return GRAPH_NONE;
	if (!*number) {
		*number = g->n;
		g->address[g->n] = start;
		g->span[g->n++] = place;
	}
	return *number;
}

static int stores_make(struct graph *g)
{
	uint64_t most = g->base + g->spans.slots * 2 + SLOTS_MORE;

	g->most = most < GRAPH_NONE ? most : GRAPH_NONE;
	g->address = store_make(&g->nodes_store, g->most * 24 + 16);
	g->pages = g->address ? store_make(&g->pages_store, g->spans.pages * 4) : NULL;
	g->edges = g->pages ? store_make(&g->edges_store, EDGES_FIRST * 4ull) : NULL;
	g->words = g->edges ? store_make(&g->words_store, EDGES_FIRST * 4ull) : NULL;
	if (!g->words)
		return no_memory();
	g->offsets = g->address + g->most;
	g->numbers = (uint32_t *)(g->offsets + g->most + 1);
	g->span = g->numbers + g->most;
	g->room = EDGES_FIRST;
	g->n = g->base;
	for (uint32_t i = 0; i < g->spans.n; i++)
		span_enter(g, i);
	return CTL_OK;
}

static int object_read(struct graph *g, uint32_t node)
{
	const struct heapd_span s = g->spans.list[g->span[node]].span;
	const uint64_t *words = (const uint64_t *)(uintptr_t)g->address[node];
	const struct layout *l = &g->layouts[s.class];

	if (!span_stands(g->ctl, &g->spans.list[g->span[node]])) {
		span_leave(g, g->span[node]);
		return CTL_OK;
	}
	for (uint64_t i = 0; !l->none && i < s.elemsize / 8; i++) {
		uint64_t word = layout_has(l, i) ? HEAPD_READ_ONCE(words[i]) : 0;
		uint32_t to = word ? graph_meet(g, word) : GRAPH_NONE;

		if (to != GRAPH_NONE && edge_add(g, to, i) != CTL_OK)
			return CTL_TROUBLE;
	}
	return CTL_OK;
}

static int objects_read(struct graph *g)
{
	struct progress progress;
	int status = CTL_OK;

	progress_begin(&progress, "reading objects");
	for (uint32_t node = g->base; node < g->n && status == CTL_OK; node++) {
		g->offsets[node] = g->nedges;
		status = object_read(g, node);
		if (node % PROGRESS_EVERY == 0)
			progress_step(&progress, node, g->n);
	}
	progress_end(&progress);
	g->offsets[g->n] = g->nedges;
	return status;
}

static struct graph_root *root_add(struct graph *g)
{
	struct graph_root *list = reallocarray(g->roots, g->nroots + 1u, sizeof(*list));

	if (!list)
		return NULL;
	g->roots = list;
	list[g->nroots] = (struct graph_root){ 0 };
	return &list[g->nroots++];
}

static int roots_named(struct graph *g)
{
	uint32_t n = HEAPD_LOAD_ACQUIRE(&ctl_directory(g->ctl)->nroots);

	for (uint32_t i = 0; i < n && i < HEAPD_ROOT_MAX; i++) {
		char name[HEAPD_NAME_MAX];
		struct graph_root *root = root_add(g);

		if (!root)
			return no_memory();
		memcpy(name, g->ctl->heap->t.roots[i].name, sizeof(name));
		name[sizeof(name) - 1] = 0;
		snprintf(root->name, sizeof(root->name), "root %s", name);
	}
	return CTL_OK;
}

static int roots_sessions(struct graph *g)
{
	struct heapd_message m = { 0 };
	struct graph_root *root;

	for (;;) {
		int status = ctl_session(g->ctl, &m);

		if (status != CTL_OK || !m.session.id)
			return status;
		if (m.session.id == g->ctl->heap->session_id)
			continue;
		root = root_add(g);
		if (!root)
			return no_memory();
		root->session = m.session.id;
		snprintf(root->name, sizeof(root->name), "process %u %s", m.session.pid, m.session.client);
	}
}

/* A word on a stack stands for itself and, being one past the end, for what lies before it. */
static int word_hold(struct graph *g, uint64_t word, uint32_t part)
{
	uint32_t to = graph_meet(g, word), before = part >= PART_STACKS ? graph_meet(g, word - 1) : to;
	int status = to != GRAPH_NONE ? edge_add(g, to, part) : CTL_OK;

	if (status == CTL_OK && before != to && before != GRAPH_NONE)
		status = edge_add(g, before, part | GRAPH_PAST);
	return status;
}

static int session_hold(struct graph *g, uint64_t id)
{
	struct heapd_message m = { .held = { .session = id } };
	uint64_t next = 0;
	uint32_t part = 0;
	int status = CTL_OK;

	do {
		m.op = HEAPD_OP_HELD;
		m.held.session = id;
		m.held.part = part;
		/* It may have gone meanwhile: then it holds nothing. */
		if (request_call(g->ctl->heap, &m, NULL, NULL) < 0)
			return CTL_OK;
		for (uint32_t i = 0; i < m.held.count && i < HEAPD_HELD_PAGE && status == CTL_OK; i++)
			status = word_hold(g, m.held.words[i], part);
		if (m.held.next && m.held.next <= next)
			return ctl_say(CTL_TROUBLE,
				       "the daemon's list of what a session holds goes backwards");
		next = m.held.next;
		part += next == 0;
	} while (status == CTL_OK && part < m.held.parts && part < PARTS_MOST);
	return status;
}

static int roots_hold(struct graph *g)
{
	int status = CTL_OK;

	for (uint32_t i = 0; i < g->nroots && status == CTL_OK; i++) {
		uint32_t to;

		g->offsets[1 + i] = g->nedges;
		if (g->roots[i].session) {
			status = session_hold(g, g->roots[i].session);
			continue;
		}
		to = graph_meet(g, HEAPD_READ_ONCE(g->ctl->heap->t.roots[i].object));
		if (to != GRAPH_NONE)
			status = edge_add(g, to, 0);
	}
	return status;
}

/* Node 0 leads to all roots. */
static int roots_link(struct graph *g)
{
	int status = CTL_OK;

	g->offsets[0] = 0;
	for (uint32_t i = 0; i < g->nroots && status == CTL_OK; i++)
		status = edge_add(g, 1 + i, i);
	return status;
}

static int layouts_make(struct graph *g)
{
	g->layouts = malloc(HEAPD_CLASS_MAX * sizeof(*g->layouts));
	if (!g->layouts)
		return no_memory();
	for (uint32_t i = 0; i < HEAPD_CLASS_MAX; i++)
		g->layouts[i] = layout_of(g->ctl, i);
	return CTL_OK;
}

int graph_load(struct graph *g, const struct ctl *ctl)
{
	int status = CTL_OK;

	*g = (struct graph){ .ctl = ctl };
	/* So that what the stacks held is known, and as little garbage is met as can be. */
	if (!ctl->no_gc && HEAPD_READ_ONCE(ctl_directory(ctl)->cycle.collecting))
		status = ctl_collect(ctl);
	if (status == CTL_OK)
		status = roots_named(g);
	if (status == CTL_OK)
		status = roots_sessions(g);
	g->base = 1 + g->nroots;
	if (status == CTL_OK)
		status = spans_load(ctl, &g->spans);
	if (status == CTL_OK)
		status = layouts_make(g);
	if (status == CTL_OK)
		status = stores_make(g);
	if (status == CTL_OK)
		status = roots_link(g);
	if (status == CTL_OK)
		status = roots_hold(g);
	if (status == CTL_OK)
		status = objects_read(g);
	if (status != CTL_OK)
		graph_free(g);
	return status;
}

void graph_free(struct graph *g)
{
	store_free(&g->nodes_store);
	store_free(&g->pages_store);
	store_free(&g->edges_store);
	store_free(&g->words_store);
	spans_free(&g->spans);
	free(g->layouts);
	free(g->roots);
	g->layouts = NULL;
	g->roots = NULL;
}

struct graph_node graph_node(const struct graph *g, uint32_t node)
{
	const struct span_copy *s;

	if (node < g->base)
		return (struct graph_node){ 0 };
	s = &g->spans.list[g->span[node]];
	return (struct graph_node){ s, g->address[node], s->gone ? 0 : s->span.elemsize };
}

struct graph_text graph_text(const struct graph *g, uint32_t node)
{
	struct graph_node n = graph_node(g, node);
	struct graph_text t;

	if (node == 0)
		snprintf(t.text, sizeof(t.text), "(roots)");
	else if (!n.span)
		snprintf(t.text, sizeof(t.text), "%s", g->roots[node - 1].name);
	else
		snprintf(t.text, sizeof(t.text), "%s 0x%" PRIx64, class_name(g->ctl, n.span->span.class).text,
			 n.address);
	for (char *c = t.text; *c; c++)
		if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
			*c = '?';
	return t;
}
