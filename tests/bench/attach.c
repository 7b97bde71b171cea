/* SPDX-License-Identifier: MIT */
/*
 * attach.c - what attaching costs a program, over being started.
 *
 * attach SOCKET HEAP: attaches, prints the nanoseconds of heapd_attach(), ends. attach SOCKET alone does all of
 * it but attaching.
 */
#include <heapd.h>
#include <stdio.h>

#include "cell.h"

int main(int argc, char **argv)
{
	struct heapd_options options = heapd_options_default();
	uint64_t before = bench_now();
	heapd_heap *heap;

	if (argc < 2) {
		fprintf(stderr, "usage: attach SOCKET [HEAP] (compare starts it)\n");
		return 2;
	}
	options.socket = argv[1];
	if (argc > 2 && heapd_attach(&heap, argv[2], &options) < 0) {
		fprintf(stderr, "bench: attach: %s\n", heapd_error());
		return 1;
	}
	printf("%.0f\n", (double)(bench_now() - before));
	return 0;
}
