/* SPDX-License-Identifier: MIT */
/*
 * probes.c - two loops for probes-run: pairs of allocation and free, and allocation of what a collection takes back.
 *
 * Is told on standard input which loop and for how many milliseconds ("pair 50"), and prints how many millions a thread
 * did in a second of its processor time. So runs of several builds can take turns, and what others do on the machine
 * meanwhile meets all of them.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "heapd.h"

#define BYTES  64
#define BATCH  20000u
#define SECOND 1000000000u

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* On a machine with much to do the daemon can be late with supply. */
static void *allocate(heapd_heap *heap)
{
	void *object;

	while (!(object = heapd_alloc(heap, BYTES)))
		if (errno != EAGAIN) {
			fprintf(stderr, "%s\n", heapd_error());
			exit(1);
		}
	return object;
}

static void pair(heapd_heap *heap)
{
	for (unsigned i = 0; i < BATCH; i++)
		if (heapd_free(allocate(heap)) < 0)
			abort();
}

static void garbage(heapd_heap *heap)
{
	for (unsigned i = 0; i < BATCH; i++)
		allocate(heap);
}

static double measure(heapd_heap *heap, void (*loop)(heapd_heap *heap), uint64_t ns)
{
	uint64_t begin, passed = 0, n = 0;

	loop(heap);
	for (begin = cpu_ns(); passed < ns; passed = cpu_ns() - begin, n += BATCH)
		loop(heap);
	return (double)n * 1e3 / (double)passed;
}

int main(int argc, char *argv[])
{
	heapd_heap *heap;
	char loop[16];
	unsigned ms;

	if (heapd_attach(&heap, argc > 1 ? argv[1] : "bench", NULL) < 0) {
		fprintf(stderr, "%s\n", heapd_error());
		return 1;
	}
	while (scanf("%15s %u", loop, &ms) == 2) {
		printf("%.3f\n", measure(heap, strcmp(loop, "pair") ? garbage : pair, ms * 1000000ull));
		fflush(stdout);
	}
	return heapd_detach(heap) < 0;
}
