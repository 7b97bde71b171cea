/* SPDX-License-Identifier: MIT */
/*
 * store.c - what a store of a pointer costs, beside a plain one.
 *
 * store SOCKET HEAP: prints lines "store HOW ns", medians: plain (the processor's store), off (heapd_store() while
 * no cycle is under way), unscanned and scanned (in the midst of one, before and after the thread has answered).
 * Stores come in bursts of 10,000, to fields and of values that change with each, so that the filter helps
 * little; only bursts are timed, and the daemon reads what they log between them. Within a burst each 200 are timed by
 * themselves, so that a median is of stores, and not of what interrupts one burst in two on a machine that has other work; the
 * first 200 of each burst, after a sleep, are among them. The clock's own time, 0.1 ns a store, is in all figures.
 * "marking" is scanned, too, while the marker runs beside it, over the 512 MiB that this process holds.
 *
 * The cycle is a real one that does not get on. A second client is stopped inside an operation, so that the first
 * handshake waits for it; then outside of it, so that the scan does.
 */
#include <heapd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cell.h"
#include "client/client.h"
#include "client/gate.h"
#include "heapd/phase.h"
#include "heapd/session.h"

#define GROUP   200u /* stores, timed together */
#define GROUPS  50u  /* of a burst */
#define BURSTS  201u
#define TIMES   (BURSTS * GROUPS)
#define FIELDS  1024u
#define CHUNKS  1024u
#define BALLAST (8u << 20) /* objects of 64 bytes */
#define MARKED  3u         /* cycles, while which is measured */

struct bench {
	struct heapd_heap *heap;
	void **chunks;           /* what there is to mark */
	void **fields, **values; /* both in the heap */
	pid_t other;
};

static void fail(const char *what)
{
	fprintf(stderr, "bench: store: %s: %s\n", what, heapd_error());
	exit(1);
}

static void ignore(void *arg, int kind, const char *text)
{
	(void)arg;
	(void)kind;
	(void)text;
}

static struct heapd_heap *attach(char **argv)
{
	struct heapd_options options = heapd_options_default();
	struct heapd_heap *heap;

	options.socket = argv[1];
	options.client = "heapd-bench";
	options.report = ignore;
	if (heapd_attach(&heap, argv[2], &options) < 0)
		fail("attach");
	return heap;
}

/* It never answers a scan. */
static void signal_block(const struct heapd_heap *heap)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, heap->signal);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void other_run(char **argv)
{
	struct heapd_heap *heap = attach(argv);

	if (!heapd_alloc(heap, 64))
		fail("allocate");
	signal_block(heap);
	gate_enter(heapd_self);
	raise(SIGSTOP);
	gate_leave(heapd_self);
	raise(SIGSTOP);
}

static void other_wait(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, WUNTRACED) < 0 || !WIFSTOPPED(status))
		fail("the second process");
}

static pid_t other_start(char **argv)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		other_run(argv);
		_exit(0);
	}
	if (pid < 0)
		fail("the second process");
	other_wait(pid);
	return pid;
}

static void objects_make(struct bench *b)
{
	b->fields = heapd_alloc(b->heap, FIELDS * sizeof(void *));
	b->values = heapd_alloc(b->heap, FIELDS * sizeof(void *));
	if (!b->fields || !b->values || !heapd_pin(b->heap, b->fields) || !heapd_pin(b->heap, b->values))
		fail("allocate");
	for (unsigned i = 0; i < FIELDS; i++) {
		heapd_store(&b->values[i], heapd_alloc(b->heap, 64));
		heapd_store(&b->fields[i], b->values[i]);
	}
}

/* Lists, so that the marker is busy for a while. */
static void ballast_make(struct bench *b)
{
	b->chunks = heapd_alloc(b->heap, CHUNKS * sizeof(void *));
	if (!b->chunks || !heapd_pin(b->heap, b->chunks))
		fail("allocate");
	for (unsigned i = 0; i < BALLAST; i++) {
		void **object = heapd_alloc(b->heap, 64);

		if (!object)
			fail("allocate");
		heapd_store(object, b->chunks[i % CHUNKS]);
		heapd_store(&b->chunks[i % CHUNKS], object);
	}
}

typedef void stores_fn(void **fields, void **values, unsigned from);

static __attribute__((noinline)) void stores_plain(void **fields, void **values, unsigned from)
{
	for (unsigned i = from; i < from + GROUP; i++)
		__atomic_store_n(&fields[i % FIELDS], values[i * 7 % FIELDS], __ATOMIC_RELEASE);
}

static __attribute__((noinline)) void stores_heapd(void **fields, void **values, unsigned from)
{
	for (unsigned i = from; i < from + GROUP; i++)
		heapd_store(&fields[i % FIELDS], values[i * 7 % FIELDS]);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Nanoseconds a store, of each group. */
static void burst_time(const struct bench *b, stores_fn *stores, double *ns)
{
	uint64_t begin = bench_now();

	for (unsigned g = 0; g < GROUPS; g++) {
		stores(b->fields, b->values, g * GROUP);
		uint64_t now = bench_now();
		ns[g] = (double)(now - begin) / GROUP;
		begin = now;
	}
}

static double median(double *ns, unsigned n)
{
	qsort(ns, n, sizeof(ns[0]), compare);
	return ns[n / 2];
}

static double measure(const struct bench *b)
{
	double ns[TIMES];

	for (unsigned i = 0; i < TIMES; i += GROUPS) {
		burst_time(b, stores_heapd, &ns[i]);
		usleep(2000);
	}
	return median(ns, TIMES);
}

/*
 * The processor's own store and heapd's with the barrier off, burst by burst in turns: what is asked is their difference, and a
 * processor that others use, too, has more than one speed.
 */
static void measure_off(const struct bench *b)
{
	double plain[TIMES], off[TIMES];

	for (unsigned i = 0; i < TIMES; i += GROUPS) {
		burst_time(b, stores_plain, &plain[i]);
		usleep(2000);
		burst_time(b, stores_heapd, &off[i]);
		usleep(2000);
	}
	printf("store plain %.2f\n", median(plain, TIMES));
	printf("store off %.2f\n", median(off, TIMES));
}

/* The phase that has come, and whether this thread has answered its scan. */
static bool is_at(const struct bench *b, enum heapd_phase phase, bool scanned)
{
	uint32_t on = heapd_self->gate.on;

	return on && heapd_now_phase(b->heap->t.directory->cycle.now) == phase &&
	       (heapd_self->scanned == on) == scanned;
}

static void wait_for(const struct bench *b, enum heapd_phase phase, bool scanned)
{
	for (unsigned i = 0; i < 5000 && !is_at(b, phase, scanned); i++)
		usleep(1000);
}

/* Before and after, or nothing of it counts. */
static double measure_at(const struct bench *b, enum heapd_phase phase, bool scanned)
{
	const struct heapd_stats *stats = &b->heap->t.directory->stats;
	uint64_t voids = stats->gc_voids;
	bool before = is_at(b, phase, scanned);
	double ns = measure(b);

	if (!before || !is_at(b, phase, scanned) || stats->gc_voids != voids)
		fail("the cycle did not stay where it was");
	return ns;
}

static void measure_on(const struct bench *b)
{
	if (heapd_collect_start(b->heap) < 0)
		fail("collect");
	wait_for(b, HEAPD_PHASE_BARRIER, false);
	printf("store unscanned %.2f\n", measure_at(b, HEAPD_PHASE_BARRIER, false));
	kill(b->other, SIGCONT);
	other_wait(b->other);
	wait_for(b, HEAPD_PHASE_SCAN, true);
	printf("store scanned %.2f\n", measure_at(b, HEAPD_PHASE_SCAN, true));
}

/* Without the second client. Bursts count that lay within one marking. */
static void measure_marking(const struct bench *b)
{
	double ns[TIMES];
	unsigned n = 0;

	for (unsigned cycle = 0; cycle < MARKED; cycle++) {
		if (heapd_collect_start(b->heap) < 0)
			fail("collect");
		wait_for(b, HEAPD_PHASE_MARK, true);
		while (n < TIMES && is_at(b, HEAPD_PHASE_MARK, true)) {
			burst_time(b, stores_heapd, &ns[n]);
			n += is_at(b, HEAPD_PHASE_MARK, true) ? GROUPS : 0;
			usleep(2000);
		}
	}
	if (!n)
		fail("no marking was met");
	printf("store marking %.2f\n", median(ns, n));
}

int main(int argc, char **argv)
{
	struct bench b = { 0 };

	if (argc != 3) {
		fprintf(stderr, "usage: store SOCKET HEAP\n");
		return 2;
	}
	b.other = other_start(argv);
	b.heap = attach(argv);
	objects_make(&b);
	measure_off(&b);
	measure_on(&b);
	kill(b.other, SIGKILL);
	ballast_make(&b);
	measure_marking(&b);
	return 0;
}
