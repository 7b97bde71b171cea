/* SPDX-License-Identifier: MIT */
/*
 * touch.c - what memory costs that a process has never touched but the daemon has committed.
 *
 * touch prepare SOCKET HEAP: allocates BYTES in objects of 64 bytes, frees them and goes, so that the daemon
 * has that much committed and free.
 * touch measure SOCKET HEAP: a fresh process allocates as much; frees it; and allocates it again, which is the
 * warm cost over the same memory. Prints: nanoseconds per object the first time, the second time; page faults
 * of the first time; bytes that the daemon had to commit meanwhile; huge pages (heapd_info.huge).
 */
#include <heapd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "cell.h"

#define BYTES   (256ul << 20)
#define SIZE    64ul
#define OBJECTS (BYTES / SIZE)

static void fail(const char *what)
{
	fprintf(stderr, "bench: touch: %s: %s\n", what, heapd_error());
	exit(1);
}

static void **objects_room(heapd_heap *heap)
{
	void **objects = mmap(NULL, OBJECTS * sizeof(void *), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (objects == MAP_FAILED || heapd_local_add(heap, objects, OBJECTS * sizeof(void *)) < 0)
		fail("room for the pointers");
	return objects;
}

/* Nanoseconds per object. The first word of each is written, as in the loops. */
static double objects_get(heapd_heap *heap, void **objects)
{
	uint64_t before = bench_now();

	for (size_t i = 0; i < OBJECTS; i++) {
		objects[i] = heapd_alloc(heap, SIZE);
		if (!objects[i])
			fail("heapd_alloc");
		*(volatile uint64_t *)objects[i] = i;
	}
	return (double)(bench_now() - before) / (double)OBJECTS;
}

static void objects_put(heapd_heap *heap, void **objects)
{
	for (size_t i = 0; i < OBJECTS; i++)
		heapd_free(objects[i]);
	if (heapd_sync(heap) < 0)
		fail("heapd_sync");
}

static struct heapd_info info_of(heapd_heap *heap)
{
	struct heapd_info info = HEAPD_SIZED(info);

	if (heapd_get_info(heap, &info) < 0)
		fail("heapd_get_info");
	return info;
}

static long faults_now(void)
{
	struct rusage ru;

	getrusage(RUSAGE_THREAD, &ru);
	return ru.ru_minflt + ru.ru_majflt;
}

static void measure(heapd_heap *heap)
{
	void **objects = objects_room(heap);
	uint64_t committed = info_of(heap).committed;
	long faults = faults_now();
	double first = objects_get(heap, objects), again;
	struct heapd_info info = info_of(heap);

	faults = faults_now() - faults;
	objects_put(heap, objects);
	again = objects_get(heap, objects);
	printf("%.3f %.3f %ld %.0f %u\n", first, again, faults, (double)info.committed - (double)committed,
	       info.huge);
	objects_put(heap, objects);
}

int main(int argc, char **argv)
{
	struct heapd_options options = heapd_options_default();
	heapd_heap *heap;

	if (argc != 4) {
		fprintf(stderr, "usage: touch prepare|measure SOCKET HEAP (compare starts it)\n");
		return 2;
	}
	options.socket = argv[2];
	if (heapd_attach(&heap, argv[3], &options) < 0)
		fail("heapd_attach");
	if (!strcmp(argv[1], "measure")) {
		measure(heap);
	} else {
		void **objects = objects_room(heap);

		objects_get(heap, objects);
		objects_put(heap, objects);
	}
	return heapd_detach(heap) < 0;
}
