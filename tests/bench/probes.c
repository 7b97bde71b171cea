/* SPDX-License-Identifier: MIT */
/*
 * probes.c - two loops for probes-run: pairs of allocation and free, and allocation of what a collection takes back.
 * Prints how many millions of each a thread does in a second of its processor time, so that what others do on the machine
 * meanwhile shows little.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "heapd.h"

#define BYTES  64
#define BATCH  100000u
#define SECOND 1000000000u

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void pair(heapd_heap *heap)
{
	for (unsigned i = 0; i < BATCH; i++)
		if (heapd_free(heapd_alloc(heap, BYTES)) < 0)
			abort();
}

static void garbage(heapd_heap *heap)
{
	for (unsigned i = 0; i < BATCH; i++)
		if (!heapd_alloc(heap, BYTES))
			abort();
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
	uint64_t ns = (uint64_t)(argc > 1 ? atoi(argv[1]) : 500) * 1000000u;
	heapd_heap *heap;

	if (heapd_attach(&heap, "bench", NULL) < 0) {
		fprintf(stderr, "%s\n", heapd_error());
		return 1;
	}
	printf("%.2f", measure(heap, pair, ns));
	printf(" %.2f\n", measure(heap, garbage, ns));
	return heapd_detach(heap) < 0;
}
