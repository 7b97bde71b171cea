/* SPDX-License-Identifier: MIT */
/* mark_bdwgc.c - the same graph in the Boehm-Demers-Weiser collector: mark_bdwgc ROUNDS, see mark.c. */
#include <gc.h>
#include <stdio.h>

#include "cell.h"
#include "graph.h"

static uint64_t **objects_make(void)
{
	uint64_t **objects =
		malloc(GRAPH_OBJECTS * sizeof(*objects)); /* which the collector does not look at */

	for (uint32_t i = 0; objects && i < GRAPH_OBJECTS; i++) {
		objects[i] = GC_MALLOC(GRAPH_WORDS * sizeof(uint64_t));
		if (!objects[i])
			return NULL;
	}
	return objects;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 1;
	uint64_t seed = GRAPH_SEED, **objects;
	uint64_t *volatile root;
	uint32_t *next;

	GC_INIT();
	GC_disable();
	objects = objects_make();
	next = graph_ring(GRAPH_OBJECTS, &seed);
	if (!objects || !next) {
		fprintf(stderr, "bench: no memory for the graph\n");
		return 1;
	}
	graph_link(objects, next, &seed);
	root = objects[0];
	GC_enable();
	for (int i = 0; i < rounds; i++) {
		uint64_t before = bench_now();

		GC_gcollect();
		printf("bdwgc %.2f\n", GRAPH_OBJECTS * 1e3 / (double)(bench_now() - before));
		fflush(stdout);
	}
	return root ? 0 : 1;
}
