/* SPDX-License-Identifier: MIT */
/*
 * restart.c - what a client loses when the daemon is killed and started again (heapd --keep).
 *
 * restart SOCKET HEAP KEEPER-PID MIB TURNS: holds MIB of objects of 64 bytes, then, TURNS times, kills the daemon, which
 * is the keeper's child, and goes on allocating. Prints for each "restart MIB first-ms longest-ms answered-ms": from the kill
 * until the allocation of AFTER bytes is through, its longest single wait, and until a request was answered again.
 */
#include <errno.h>
#include <heapd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cell.h"

#define SIZE  64u
#define CHUNK 4096u
#define AFTER (8ul << 20)

static void fail(const char *what)
{
	fprintf(stderr, "bench: restart: %s: %s\n", what, heapd_error());
	exit(1);
}

static heapd_heap *attach(char **argv)
{
	struct heapd_options options = heapd_options_default();
	heapd_heap *heap;

	options.socket = argv[1];
	options.client = "heapd-bench";
	options.supply_timeout_ms = options.request_timeout_ms = 60000;
	if (heapd_attach(&heap, argv[2], &options) < 0)
		fail("attach");
	return heap;
}

/* Bytes of objects, in a list of arrays of them; the longest wait for one. */
static uint64_t fill(heapd_heap *heap, void ***list, uint64_t bytes)
{
	uint64_t longest = 0, before = bench_now();

	for (uint64_t n = 0; n < bytes / SIZE; n += CHUNK) {
		void **chunk = heapd_alloc(heap, (CHUNK + 1) * sizeof(*chunk));

		if (!chunk)
			fail("allocate");
		heapd_init(&chunk[CHUNK], (void *)*list);
		*list = chunk;
		for (unsigned i = 0; i < CHUNK; i++) {
			void *object = heapd_alloc(heap, SIZE);
			uint64_t now = bench_now();

			if (!object)
				fail("allocate");
			heapd_init(&chunk[i], object);
			longest = now - before > longest ? now - before : longest;
			before = now;
		}
	}
	return longest;
}

/* The keeper's child is the daemon. */
static pid_t daemon_find(const char *keeper)
{
	char path[80];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/task/%s/children", keeper, keeper);
	f = fopen(path, "re");
	if (f && fscanf(f, "%d", &pid) != 1)
		pid = 0;
	if (f)
		fclose(f);
	return pid;
}

static void turn(heapd_heap *heap, char **argv, void ***list)
{
	pid_t daemon = daemon_find(argv[3]);
	uint64_t begin = bench_now(), longest, filled;

	if (daemon <= 0 || kill(daemon, SIGKILL) < 0) {
		fprintf(stderr, "bench: restart: there is no daemon to kill\n");
		exit(1);
	}
	longest = fill(heap, list, AFTER);
	filled = bench_now();
	if (heapd_sync(heap) < 0)
		fail("sync");
	printf("restart %s %.2f %.2f %.2f\n", argv[4], (double)(filled - begin) / 1e6, (double)longest / 1e6,
	       (double)(bench_now() - begin) / 1e6);
}

int main(int argc, char **argv)
{
	const struct timespec rest = { .tv_nsec = 500000000 };
	heapd_heap *heap;
	void **list = NULL;

	if (argc != 6) {
		fprintf(stderr, "usage: restart SOCKET HEAP KEEPER-PID MIB TURNS (restart-run starts it)\n");
		return 2;
	}
	heap = attach(argv);
	if (heapd_local_add(heap, &list, sizeof(list)) < 0)
		fail("list");
	fill(heap, &list, strtoull(argv[4], NULL, 10) << 20);
	for (int i = 0; i < atoi(argv[5]); i++) {
		nanosleep(&rest, NULL);
		turn(heap, argv, &list);
	}
	return 0;
}
