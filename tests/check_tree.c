/* SPDX-License-Identifier: MIT */
/*
 * heapctl's dominator tree over random graphs, against the definition: d dominates v if v cannot be reached without d.
 * The sources are included: what the tree needs of a graph is little, and made here.
 */
#include "client/heapctl/progress.c"
#include "client/heapctl/store.c"
#include "client/heapctl/tree.c"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>

#include "fixture.h"
#include "suite.h"

#define NODES_MAX 60u

int ctl_say(enum ctl_exit status, const char *format, ...)
{
	(void)format;
	return (int)status;
}

/* A node is as large as its number. */
struct graph_node graph_node(const struct graph *g, uint32_t node)
{
	(void)g;
	return (struct graph_node){ .size = node };
}

static uint64_t draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void graph_draw(struct graph *g, uint64_t *seed, uint64_t *offsets, uint32_t *edges)
{
	uint32_t n = 2 + (uint32_t)(draw(seed) % (NODES_MAX - 2)), many = 1 + (uint32_t)(draw(seed) % 4);

	*g = (struct graph){ .offsets = offsets, .edges = edges, .n = n };
	for (uint32_t v = 0; v < n; v++) {
		offsets[v] = g->nedges;
		for (uint64_t i = draw(seed) % (many + 1); i; i--)
			edges[g->nedges++] = (uint32_t)(draw(seed) % n);
		/* A long chain below it all, most times. */
		if (v + 1 < n && draw(seed) % 8)
			edges[g->nedges++] = v + 1;
	}
	offsets[n] = g->nedges;
}

/* Which nodes are reached from node 0 without going through `without`. */
static void reach(const struct graph *g, uint32_t without, bool reached[NODES_MAX])
{
	uint32_t stack[NODES_MAX], depth = 0;

	for (uint32_t v = 0; v < NODES_MAX; v++)
		reached[v] = false;
	if (without == 0)
		return;
	reached[0] = true;
	stack[depth++] = 0;
	while (depth) {
		uint32_t v = stack[--depth];

		for (uint64_t e = g->offsets[v]; e < g->offsets[v + 1]; e++) {
			uint32_t to = g->edges[e];

			if (to == without || reached[to])
				continue;
			reached[to] = true;
			stack[depth++] = to;
		}
	}
}

static void compare(const struct graph *g, const struct tree *t)
{
	bool all[NODES_MAX], rest[NODES_MAX];

	reach(g, UINT32_MAX, all);
	for (uint32_t v = 0; v < g->n; v++)
		ck_assert_int_eq(t->number[v] != 0, all[v]);
	for (uint32_t d = 0; d < g->n; d++) {
		uint64_t size = 0;

		if (!all[d])
			continue;
		reach(g, d, rest);
		for (uint32_t v = 0; v < g->n; v++)
			size += all[v] && !rest[v] ? v : 0;
		ck_assert_uint_eq(t->retained[t->number[d]], size);
	}
}

START_TEST(retains_what_cannot_be_reached_without)
{
	uint64_t seed = fixture_seed() | 1, offsets[NODES_MAX + 1];
	uint32_t edges[NODES_MAX * 6];

	for (unsigned i = 0; i < 2000; i++) {
		struct graph g;
		struct tree t;

		graph_draw(&g, &seed, offsets, edges);
		ck_assert_int_eq(tree_walk(&t, &g), CTL_OK);
		ck_assert_int_eq(tree_dominate(&t, &g), CTL_OK);
		compare(&g, &t);
		tree_free(&t);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tree");
	TCase *tcase = tcase_create("tree");

	tcase_add_test(tcase, retains_what_cannot_be_reached_without);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
