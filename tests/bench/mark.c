/* SPDX-License-Identifier: MIT */
/*
 * mark.c - how fast heapd's marker goes through a random graph, and how fast anything could.
 *
 * mark ROUNDS: makes one heap with the graph in it, and prints, round by round, lines of a name and millions of
 * objects a second: heapd-1 and heapd-2 (the marker, with so many threads), naive (a stack and the same mark words,
 * nothing asked for ahead), loop (no marking: reads the pointers of all objects in an order that is known beforehand, each
 * asked for 32 objects ahead).
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cell.h"
#include "daemon/marker.h"
#include "daemon/marks.h"
#include "daemon/slots.h"
#include "daemon/spans.h"
#include "daemon/types.h"
#include "graph.h"

#define HEAP_BYTES (UINT64_C(3) << 30)
#define AHEAD      32u

struct bench {
	struct log log;
	struct account account;
	struct config_heap config;
	struct heap *heap;
	struct ledger ledger;
	struct pages pages;
	struct spans spans;
	struct marker *one, *two;
	uint64_t **objects; /* in the order of their addresses */
	uint32_t *next;
	uint64_t **stack;
};

static int heap_make(struct bench *b)
{
	struct heap_plan plan = { .config = &b->config, .base = heap_first_base() };
	int r;

	b->config = (struct config_heap){
		.name = "bench", .size = HEAP_BYTES, .limit = HEAP_BYTES, .huge = CONFIG_HUGE_AUTO
	};
	b->account.maximum = UINT64_C(4) << 30;
	log_init(&b->log, STDERR_FILENO, LOG_TARGET_CONSOLE, LOG_WARNING);
	plan.account = &b->account;
	plan.log = &b->log;
	r = heap_geometry(&b->config, &b->log, &plan.geometry);
	plan.ledger_bytes = ledger_size(&plan.geometry);
	if (r == 0)
		r = heap_create(&plan, &b->heap);
	if (r == 0)
		r = types_init(b->heap);
	if (r == 0)
		r = ledger_init(&b->ledger, b->heap);
	if (r == 0)
		r = pages_init(&b->pages, b->heap);
	if (r == 0)
		r = spans_init(&b->spans, b->heap, &b->ledger, &b->pages);
	if (r == 0)
		r = marks_init(b->heap);
	return r;
}

static int class_make(struct bench *b, uint32_t *class)
{
	struct heapd_type_request request = {
		.name = "node",
		.size = GRAPH_WORDS * 8,
		.align = 8,
		.map_bits = GRAPH_LINKS,
		.map = { (1u << GRAPH_LINKS) - 1 },
	};
	struct heapd_type_reply reply;
	struct refusal why;
	int r = types_define(b->heap, &request, true, &reply, &why);

	*class = r == 0 ? b->heap->t.types[reply.type].fixed_class : 0;
	return r;
}

static int objects_make(struct bench *b, uint32_t class)
{
	b->objects = malloc(GRAPH_OBJECTS * sizeof(*b->objects));
	for (uint32_t n = 0; b->objects && n < GRAPH_OBJECTS;) {
		uint32_t first;
		int r = spans_cut(&b->spans, class, &first);

		if (r < 0)
			return r;
		uint64_t start = b->heap->t.base + ((uint64_t)first << HEAPD_PAGE_SHIFT);

		for (uint32_t i = 0; i < b->heap->t.spans[first].nslots && n < GRAPH_OBJECTS; i++)
			b->objects[n++] = (uint64_t *)(uintptr_t)(start + i * GRAPH_WORDS * 8ul);
	}
	return b->objects ? 0 : -1;
}

static int graph_make(struct bench *b)
{
	uint64_t seed = GRAPH_SEED;
	uint32_t class;
	int r = class_make(b, &class);

	if (r == 0)
		r = objects_make(b, class);
	b->next = graph_ring(GRAPH_OBJECTS, &seed);
	b->stack = malloc(GRAPH_OBJECTS * sizeof(*b->stack));
	if (r < 0 || !b->next || !b->stack)
		return -1;
	graph_link(b->objects, b->next, &seed);
	return 0;
}

static void marks_clear(struct bench *b)
{
	memset(b->heap->marks->mark, 0, b->spans.numbers.high * HEAPD_SLAB_UNIT * 8);
}

static uint64_t marker_time(struct bench *b, struct marker *marker)
{
	uint64_t before;

	marks_clear(b);
	marker_begin(marker);
	before = bench_now();
	marker_shade(marker, (uint64_t)(uintptr_t)b->objects[0]);
	while (!marker_drain(marker))
		;
	return marker_counts(marker)->objects == GRAPH_OBJECTS ? bench_now() - before : 0;
}

static bool naive_mark(struct bench *b, uint64_t word)
{
	struct slot slot;

	if (!slot_find(&b->heap->t, word, &slot))
		return false;
	uint64_t *mark = &b->heap->marks->mark[slot.slab], bit = UINT64_C(1) << slot.bit;

	if (*mark & bit)
		return false;
	*mark |= bit;
	return true;
}

static uint64_t naive_time(struct bench *b)
{
	uint64_t before = bench_now(), depth = 0, objects = 0;

	naive_mark(b, (uint64_t)(uintptr_t)b->objects[0]);
	for (b->stack[depth++] = b->objects[0]; depth; objects++) {
		const uint64_t *o = b->stack[--depth];

		for (unsigned k = 0; k < GRAPH_LINKS; k++)
			if (naive_mark(b, o[k]))
				b->stack[depth++] = (uint64_t *)(uintptr_t)o[k];
	}
	return objects == GRAPH_OBJECTS ? bench_now() - before : 0;
}

static uint64_t loop_time(const struct bench *b)
{
	uint64_t sum = 0, before = bench_now();

	for (uint32_t i = 0; i < GRAPH_OBJECTS; i++) {
		const uint64_t *o = b->stack[i];

		__builtin_prefetch(b->stack[i + AHEAD < GRAPH_OBJECTS ? i + AHEAD : i]);
		for (unsigned k = 0; k < GRAPH_LINKS; k++)
			sum += o[k];
	}
	__asm__ volatile("" : : "r"(sum));
	return bench_now() - before;
}

static void say(const char *name, uint64_t ns)
{
	printf("%s %.2f\n", name, ns ? GRAPH_OBJECTS * 1e3 / (double)ns : 0);
	fflush(stdout);
}

static void measure(struct bench *b)
{
	say("heapd-1", marker_time(b, b->one));
	say("heapd-2", marker_time(b, b->two));
	marks_clear(b);
	say("naive", naive_time(b));
	for (uint32_t i = 0, at = 0; i < GRAPH_OBJECTS; i++, at = b->next[at])
		b->stack[i] = b->objects[at];
	say("loop", loop_time(b));
}

int main(int argc, char **argv)
{
	static struct bench b;
	int rounds = argc > 1 ? atoi(argv[1]) : 1;

	if (heap_make(&b) < 0 || graph_make(&b) < 0 || marker_init(&b.one, b.heap, 1) < 0 ||
	    marker_init(&b.two, b.heap, 2) < 0) {
		fprintf(stderr, "bench: no memory for the graph\n");
		return 1;
	}
	for (int i = 0; i < rounds; i++)
		measure(&b);
	marker_deinit(b.two);
	marker_deinit(b.one);
	return 0;
}
