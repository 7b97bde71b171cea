/* SPDX-License-Identifier: MIT */
/*
 * heapd.c - the loops on heapd_alloc() and heapd_free().
 *
 * heapd SOCKET HEAP NWORKERS DAEMON-PID: each worker is a process that attaches by itself. The rings lie in
 * the heap, found by named roots, and hold plain pointers.
 */
#include <heapd.h>
#include <stdio.h>
#include <stdlib.h>

#include "ring.h"
#include "serve.h"

BENCH_INLINE void *bench_get(struct bench_worker *w, size_t size)
{
	return heapd_alloc(w->own, size);
}

BENCH_INLINE void bench_put(struct bench_worker *w, void *object)
{
	(void)w;
	heapd_free(object);
}

BENCH_INLINE void bench_pass(struct bench_worker *w, void **slot, void *object)
{
	(void)w;
	heapd_store(slot, object);
}

BENCH_INLINE void *bench_take(struct bench_worker *w, void **slot)
{
	(void)w;
	return heapd_load(slot);
}

static struct bench_ring *bench_ring_of(struct bench_worker *w, unsigned pair)
{
	heapd_type *type = heapd_type_define(w->own, "bench-ring", struct bench_ring, slots);
	struct bench_ring *ring;
	char name[32];

	snprintf(name, sizeof(name), "bench-ring-%u", pair);
	ring = type ? heapd_root(w->own, name, struct bench_ring, type) : NULL;
	if (!ring) {
		fprintf(stderr, "bench: heapd: %s: %s\n", name, heapd_error());
		exit(1);
	}
	return ring;
}

#include "loops.h"

struct place {
	const char *socket, *heap;
};

static int begin(struct bench_worker *w, void *arg)
{
	const struct place *place = arg;
	struct heapd_options options = heapd_options_default();
	heapd_heap *heap;
	int r;

	options.socket = place->socket;
	options.client = "heapd-bench";
	r = heapd_attach(&heap, place->heap, &options);
	if (r == 0)
		r = heapd_local_add(heap, w->objects, BENCH_CHUNK * sizeof(void *));
	if (r < 0)
		fprintf(stderr, "bench: heapd: %s\n", heapd_error());
	w->own = heap;
	return -r;
}

int main(int argc, char **argv)
{
	struct bench_trade trade = { .begin = begin, .run = bench_loops_run };
	struct bench_hello hello = { 0 };
	unsigned v = heapd_version();
	struct place place;

	if (argc != 5) {
		fprintf(stderr, "usage: heapd SOCKET HEAP NWORKERS DAEMON-PID (compare starts it)\n");
		return 2;
	}
	place = (struct place){ .socket = argv[1], .heap = argv[2] };
	trade.arg = &place;
	snprintf(hello.version, sizeof(hello.version), "%u.%u.%u", v >> 16, v >> 8 & 0xff, v & 0xff);
	snprintf(hello.library, sizeof(hello.library), "libheapd");
	return bench_serve(argv[3], argv[4], &trade, &hello, NULL);
}
