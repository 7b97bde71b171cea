/* SPDX-License-Identifier: MIT */
/*
 * pause.c - what collections cost the threads of heapd's clients.
 *
 * pause SOCKET HEAP MIB PROCESSES THREADS STEPS SECONDS HOW [CYCLES]: so many processes with so many threads hold MIB together and make STEPS a
 * second together (0: as many as they can). HOW: "back-to-back", a cycle begins as the last one ends; "paced",
 * as the heap's settings ask for; "free", the heap collects nothing, and what is dropped is freed. Prints lines of what,
 * name, MIB, then: pause (answers of a thread to a scan, its own processor time), own and wall (steps of the loop), clock-own and
 * clock-wall (reads of the clock): n, mean, 99 %, 99.9 %, longest, 50 %, in us; rate: steps a second, processor time of one in ns, waits for supply in us;
 * CYCLES: it ends after so many, if SECONDS have not passed. cycles: n, mean ms, processor time of the collector in ms, part of the processor time of all that it is.
 *
 * The thread reads its own record after each batch, which is at most 10 ms long: it misses an answer only if
 * two cycles ended meanwhile.
 */
#include <heapd.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/client.h"
#include "heapd/session.h"
#include "mutator.h"

#define THREADS 64u

struct plan {
	const char *socket, *heap, *live, *how;
	unsigned processes, threads;
	uint64_t cycles; /* 0: as many as there are in the time */
	struct mutator_plan each;
};

struct shared {
	unsigned ready, go, stop, enough;
	struct mutator all[THREADS];
	struct idler idler;
};

struct context {
	const struct plan *plan;
	struct shared *shared;
	struct heapd_heap *heap;
	heapd_type *type;
	struct mutator *m;
};

/* NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): the thread's own */
static __thread struct context *context_here;

BENCH_INLINE void *mutator_new(struct mutator *m, size_t bytes)
{
	struct context *c = context_here;

	(void)m;
	return bytes == sizeof(struct node) ? (void *)heapd_new(c->type, struct node)
					    : heapd_alloc(c->heap, bytes);
}

BENCH_INLINE void mutator_store(void *field, void *value)
{
	heapd_store((void **)field, value);
}

BENCH_INLINE void mutator_drop(struct mutator *m, struct node *node)
{
	(void)m;
	if (context_here->plan->how[0] == 'f')
		heapd_free(node);
}

static void mutator_rest(struct mutator *m)
{
	const struct heapd_thread *self = heapd_self;

	if (!self || self->pauses == m->seen)
		return;
	m->seen = self->pauses;
	gaps_add(&m->pauses, self->pause_last_ns);
}

static void mutator_hold(struct mutator *m)
{
	if (!heapd_pin(context_here->heap, m->chunks))
		m->failed = errno;
}

static int attach(const struct plan *plan, struct heapd_heap **heap)
{
	struct heapd_options options = heapd_options_default();

	options.socket = plan->socket;
	options.client = "heapd-bench";
	options.supply_timeout_ms = 60000;
	if (heapd_attach(heap, plan->heap, &options) < 0) {
		fprintf(stderr, "bench: heapd: %s\n", heapd_error());
		return -1;
	}
	return 0;
}

static void *thread_run(void *arg)
{
	struct context *c = arg;
	struct mutator *m = c->m;
	uint64_t waited;

	context_here = c;
	if (!mutator_chunks_make(m, &c->plan->each) || !mutator_nodes_make(m, &c->plan->each)) {
		m->failed = errno ? errno : ENOMEM;
		fprintf(stderr, "bench: heapd: %s\n", heapd_error());
	}
	__atomic_fetch_add(&c->shared->ready, 1, __ATOMIC_ACQ_REL);
	while (!__atomic_load_n(&c->shared->go, __ATOMIC_ACQUIRE))
		usleep(1000);
	m->seen = heapd_self ? heapd_self->pauses : 0;
	waited = heapd_self ? heapd_self->wait_ns : 0;
	if (!m->failed)
		mutator_run(m, &c->plan->each);
	m->wait_ns = heapd_self ? heapd_self->wait_ns - waited : 0;
	return NULL;
}

static int process_run(const struct plan *plan, struct shared *shared, unsigned process)
{
	struct context contexts[THREADS] = { { 0 } };
	pthread_t threads[THREADS];
	struct heapd_heap *heap;
	heapd_type *type;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (attach(plan, &heap) < 0)
		return 1;
	type = heapd_type_define(heap, "bench-node", struct node, next, chunk);
	for (unsigned i = 0; type && i < plan->threads; i++) {
		unsigned number = process * plan->threads + i;

		shared->all[number].random = 0x9e3779b97f4a7c15ull * (number + 1);
		contexts[i] = (struct context){ plan, shared, heap, type, &shared->all[number] };
		pthread_create(&threads[i], NULL, thread_run, &contexts[i]);
	}
	for (unsigned i = 0; type && i < plan->threads; i++)
		pthread_join(threads[i], NULL);
	return type ? 0 : 1;
}

static void *collect_run(void *arg)
{
	struct context *c = arg;

	while (!__atomic_load_n(&c->shared->stop, __ATOMIC_ACQUIRE))
		if (heapd_collect(c->heap) < 0)
			break;
	return NULL;
}

static uint64_t cycles_of(const struct heapd_stats *stats)
{
	uint64_t cycles = 0;

	for (unsigned i = 0; i < 8; i++)
		cycles += HEAPD_READ_ONCE(stats->gc_cycles[i]);
	return cycles;
}

/* For the plan's time, or until there were enough cycles. */
static void let_run(const struct plan *plan, struct shared *shared, const struct heapd_stats *stats)
{
	uint64_t end = bench_now() + plan->each.run_ns, first = cycles_of(stats), now;

	while ((now = bench_now()) < end && !(plan->cycles && cycles_of(stats) - first >= plan->cycles))
		usleep((useconds_t)(bench_min(end - now, 50000000u) / 1000 + 1));
	__atomic_store_n(&shared->enough, 1, __ATOMIC_RELAXED);
}

static void cycles_print(const struct plan *plan, const struct heapd_stats *before,
			 const struct heapd_stats *after, const struct shared *shared)
{
	uint64_t cycles = cycles_of(after) - cycles_of(before), cpu = after->gc_cpu_ns - before->gc_cpu_ns,
		 used = cpu;

	for (unsigned i = 0; i < plan->processes * plan->threads; i++)
		used += shared->all[i].cpu;
	printf("cycles heapd-%s %s %llu %.2f %.1f %.3f %llu\n", plan->how, plan->live,
	       (unsigned long long)cycles,
	       cycles ? (double)(after->gc_ns - before->gc_ns) / (double)cycles / 1e6 : 0, (double)cpu / 1e6,
	       used ? (double)cpu / (double)used : 0,
	       (unsigned long long)(after->gc_voids - before->gc_voids));
}

/* Attached itself, but offline or in system calls of its own: it asks for the cycles, and is no mutator. */
static void measure(const struct plan *plan, struct shared *shared)
{
	struct context c = { .plan = plan, .shared = shared };
	struct heapd_stats before, after;
	pthread_t collector, idler;
	char name[40];

	if (attach(plan, &c.heap) < 0)
		exit(1);
	heapd_thread_offline(c.heap);
	before = c.heap->t.directory->stats;
	pthread_create(&idler, NULL, idler_run, &shared->idler);
	if (plan->how[0] == 'b')
		pthread_create(&collector, NULL, collect_run, &c);
	__atomic_store_n(&shared->go, 1, __ATOMIC_RELEASE);
	let_run(plan, shared, &c.heap->t.directory->stats);
	after = c.heap->t.directory->stats;
	__atomic_store_n(&shared->idler.stop, true, __ATOMIC_RELAXED);
	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELEASE);
	pthread_join(idler, NULL);
	if (plan->how[0] == 'b')
		pthread_join(collector, NULL);
	while (wait(NULL) > 0)
		;
	snprintf(name, sizeof(name), "heapd-%s", plan->how);
	mutator_print(shared->all, plan->processes * plan->threads, name, plan->live);
	idler_print(&shared->idler, name, plan->live);
	cycles_print(plan, &before, &after, shared);
}

/* Forked before anything is attached: each is a client as any. */
static bool processes_start(const struct plan *plan, struct shared *shared)
{
	for (unsigned i = 0; i < plan->processes; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(process_run(plan, shared, i));
		if (pid < 0)
			return false;
	}
	while (__atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE) < plan->processes * plan->threads) {
		if (waitpid(-1, NULL, WNOHANG) != 0)
			return false;
		usleep(1000);
	}
	return true;
}

int main(int argc, char **argv)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct plan plan;
	unsigned n;

	if (argc < 9 || argc > 10 || shared == MAP_FAILED) {
		fprintf(stderr,
			"usage: pause SOCKET HEAP MIB PROCESSES THREADS STEPS SECONDS HOW [CYCLES]\n");
		return 2;
	}
	plan = (struct plan){ .socket = argv[1], .heap = argv[2], .live = argv[3], .how = argv[8] };
	plan.processes = (unsigned)atoi(argv[4]);
	plan.threads = (unsigned)atoi(argv[5]);
	n = plan.processes * plan.threads;
	if (!n || n > THREADS)
		return 2;
	plan.each.nodes = (strtoull(argv[3], NULL, 10) << 20) / sizeof(struct node) / n;
	plan.each.steps = mutator_batch(argv[6], n);
	plan.each.run_ns = (uint64_t)(atof(argv[7]) * 1e9);
	plan.each.enough = &shared->enough;
	plan.cycles = argc > 9 ? strtoull(argv[9], NULL, 10) : 0;
	if (!processes_start(&plan, shared)) {
		fprintf(stderr, "bench: heapd: a process could not begin\n");
		return 1;
	}
	measure(&plan, shared);
	return 0;
}
