/* SPDX-License-Identifier: MIT */
/*
 * death.c - how soon the memory of a client that was killed can be allocated again.
 *
 * death SOCKET HEAP LEFT DEAD [marking]: MIB of 64-byte objects that this process holds, and that another one holds, which is
 * killed; with "marking", half-way through the marking of a cycle, by the time that the one before took. Prints "death LEFT ms mark", or
 * "death-marking ...": milliseconds from the kill until as much is allocated as before it came
 * (a hundredth of its objects more is allowed: what the dead CPU caches hold), and of one marking of what is left, the shortest of three.
 */
#include <heapd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cell.h"
#include "client/client.h"
#include "heapd/phase.h"
#include "heapd/stats.h"

#define CHUNK      1024u
#define PATIENCE_S 60u

struct object {
	struct object *one, *other;
	uint64_t rest[6];
};

static void fail(const char *what)
{
	fprintf(stderr, "bench: death: %s: %s\n", what, heapd_error());
	exit(1);
}

static struct heapd_heap *attach(char **argv)
{
	struct heapd_options options = heapd_options_default();
	struct heapd_heap *heap;

	options.socket = argv[1];
	options.client = "heapd-bench";
	options.supply_timeout_ms = 60000;
	if (heapd_attach(&heap, argv[2], &options) < 0)
		fail("attach");
	return heap;
}

static struct object **chunk_make(struct heapd_heap *heap, heapd_type *type)
{
	struct object **chunk = heapd_alloc(heap, CHUNK * sizeof(*chunk));

	for (unsigned i = 0; chunk && i < CHUNK; i++) {
		struct object *o = heapd_new(type, struct object);

		if (!o)
			fail("allocate");
		heapd_init(&o->one, i ? chunk[i - 1] : NULL);
		heapd_init(&o->other, i ? chunk[i / 2] : NULL);
		heapd_store(&chunk[i], o);
	}
	return chunk;
}

static void objects_make(struct heapd_heap *heap, const char *mib)
{
	heapd_type *type = heapd_type_define(heap, "bench-object", struct object, one, other);
	uint64_t n = (strtoull(mib, NULL, 10) << 20) / sizeof(struct object) / CHUNK;
	struct object ***chunks = heapd_alloc(heap, (n + 1) * sizeof(*chunks));

	if (!type || !chunks || !heapd_pin(heap, chunks))
		fail("allocate");
	for (uint64_t i = 0; i < n; i++) {
		struct object **chunk = chunk_make(heap, type);

		if (!chunk)
			fail("allocate");
		heapd_store(&chunks[i], chunk);
	}
}

/* Begins before this process has anything to share. It fills the heap when told by a byte. */
static pid_t dying_start(char **argv, const int go[2], const int ready[2])
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		char byte;

		close(go[1]);
		if (!bench_read(go[0], &byte, 1))
			_exit(1);
		objects_make(attach(argv), argv[4]);
		if (!bench_write(ready[1], "", 1))
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	return pid;
}

static uint64_t allocated(const struct heapd_heap *heap)
{
	const struct heapd_stats *s = &heap->t.directory->stats;
	uint64_t out = HEAPD_READ_ONCE(s->out);
	uint64_t free = HEAPD_READ_ONCE(s->in_rings) + HEAPD_READ_ONCE(s->stranded);

	return out > free ? out - free : 0;
}

static uint64_t mark_of(const struct heapd_heap *heap)
{
	uint32_t cycle = heapd_now_cycle(HEAPD_READ_ONCE(heap->t.directory->cycle.now));

	return heap->t.directory->cycles[cycle % HEAPD_CYCLES_KEPT].mark;
}

static uint64_t mark_ns(struct heapd_heap *heap)
{
	uint64_t shortest = UINT64_MAX;

	for (unsigned i = 0; i < 3; i++) {
		if (heapd_collect(heap) < 0)
			fail("collect");
		shortest = bench_min(shortest, mark_of(heap));
	}
	return shortest;
}

static void *collect_run(void *arg)
{
	struct heapd_heap *heap = (struct heapd_heap *)arg;

	if (heapd_collect(heap) < 0)
		fail("collect");
	return NULL;
}

static bool is_marking(const struct heapd_heap *heap)
{
	return heapd_now_phase(HEAPD_LOAD_ACQUIRE(&heap->t.directory->cycle.now)) == HEAPD_PHASE_MARK;
}

/* Half-way through its marking, by what that took before. */
static pthread_t cycle_begin(struct heapd_heap *heap)
{
	uint64_t whole = mark_of(heap), end = bench_now() + PATIENCE_S * 1000000000ull;
	pthread_t collector;

	if (pthread_create(&collector, NULL, collect_run, heap))
		fail("a thread");
	while (!is_marking(heap) && bench_now() < end)
		usleep(100);
	usleep((useconds_t)(whole / 2000));
	if (!is_marking(heap))
		fail("marking is over already: no death in its midst");
	return collector;
}

/* From the kill on; 0: it did not come back. */
static uint64_t kill_time(const struct heapd_heap *heap, pid_t pid, uint64_t wanted)
{
	uint64_t begin = bench_now(), now = begin;

	kill(pid, SIGKILL);
	while (allocated(heap) > wanted && now - begin < PATIENCE_S * 1000000000ull) {
		usleep(200);
		now = bench_now();
	}
	return allocated(heap) > wanted ? 0 : now - begin;
}

int main(int argc, char **argv)
{
	uint64_t dead, before, full, ns;
	bool marking = argc == 6 && strcmp(argv[5], "marking") == 0;
	pthread_t collector = { 0 };
	int go[2], ready[2];
	struct heapd_heap *heap;
	pid_t dying;
	char byte;

	if ((argc != 5 && !marking) || pipe(go) < 0 || pipe(ready) < 0) {
		fprintf(stderr, "usage: death SOCKET HEAP LEFT DEAD [marking]\n");
		return 2;
	}
	dead = strtoull(argv[4], NULL, 10) << 20;
	dying = dying_start(argv, go, ready);
	heap = attach(argv);
	objects_make(heap, argv[3]);
	if (heapd_collect(heap) < 0)
		fail("collect");
	before = allocated(heap);
	if (dying < 0 || !bench_write(go[1], "", 1) || !bench_read(ready[0], &byte, 1))
		fail("the other process");
	if (heapd_collect(heap) < 0)
		fail("collect");
	full = allocated(heap);
	if (full < before + dead / 10 * 9)
		fail("the other process holds too little");
	if (marking)
		collector = cycle_begin(heap);
	ns = kill_time(heap, dying, before + dead / 100);
	if (marking)
		pthread_join(collector, NULL);
	printf("death%s %s %.1f %.1f\n", marking ? "-marking" : "", argv[3], (double)ns / 1e6,
	       (double)mark_ns(heap) / 1e6);
	return ns ? 0 : 1;
}
