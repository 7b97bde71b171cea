/* SPDX-License-Identifier: MIT */
/*
 * Owns the worker processes of the tests of concurrency. Right because each word of an object that is
 * looked at is the owner's alone until it has passed the object on: no check here can fail by a race of
 * the test's own.
 */
#include "workers.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "heapd/atomic.h"
#include "objects.h"

#define LIVE_MAX 256u

struct stamp {
	uint64_t name; /* of the object: process, thread and sequence; 0 when it is free */
	uint64_t sum;  /* of name, size and address */
};

struct table {
	heapd_ptr(struct stamp) places[WORKERS_TABLE];
};

/* Shared by the test and all of its workers, beside the heap. */
static struct shared {
	_Atomic bool stop;
	_Atomic uint64_t done;
} * shared;

struct worker {
	const struct worker_plan *plan;
	heapd_heap *heap;
	struct table *table;
	uint64_t random, sequence, owner;
	unsigned steps; /* until it ends; 0: when told to stop */
	struct {
		struct stamp *object;
		uint64_t name;
	} live[LIVE_MAX];
};

static const uint32_t sizes[] = { 64, 64, 64, 64, 208, 208, 3000, 12000 };

static void wrong(const char *what, const struct worker *w, const void *object, uint64_t there)
{
	fprintf(stderr, "worker %llx, object %llu: %s: %p holds %llx (%s)\n", (unsigned long long)w->owner,
		(unsigned long long)w->sequence, what, object, (unsigned long long)there, heapd_error());
	_exit(1);
}

static uint64_t random_next(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random >> 11;
}

static uint64_t sum_of(const struct stamp *object, uint64_t name, size_t size)
{
	return pattern_word(name ^ (uintptr_t)object, size);
}

/* The last words of an object repeat its sum. */
static uint64_t *last_word(struct stamp *object, size_t size)
{
	return (uint64_t *)(void *)((char *)object + size - 8);
}

static struct stamp *object_new(struct worker *w, uint64_t *name)
{
	uint32_t bytes = sizes[random_next(w) % (sizeof(sizes) / sizeof(sizes[0]))];
	struct stamp *object = (struct stamp *)heapd_alloc(w->heap, bytes);

	w->sequence++;
	if (!object)
		wrong("no memory", w, object, bytes);
	size_t size = heapd_size(object);
	if (!bytes_zero(object, size))
		wrong("not zero", w, object, object->name);
	*name = w->owner << 36 | w->sequence;
	object->name = *name;
	object->sum = sum_of(object, *name, size);
	*last_word(object, size) = object->sum;
	return object;
}

static void object_check(struct worker *w, struct stamp *object, uint64_t name)
{
	size_t size = heapd_size(object);

	if (!name || object->name != name)
		wrong("another's stamp", w, object, object->name);
	if (object->sum != sum_of(object, name, size) || *last_word(object, size) != object->sum)
		wrong("a torn stamp", w, object, object->sum);
}

static void object_free(struct worker *w, struct stamp *object, uint64_t name)
{
	object_check(w, object, name);
	object->name = 0;
	if (heapd_free(object) < 0)
		wrong("not freed", w, object, name);
}

/*
 * Into the table, for whoever comes by; what lay there is ours now. It may have come to us through other processes, which
 * ThreadSanitizer does not see. Nor does it see that one of them frees the object: each of its pages is to be a part of what is told,
 * since what is made of one later knows of no other.
 */
static void object_pass_on(struct worker *w, struct stamp *object)
{
	HEAPD_TSAN_RELEASE(object, heapd_size(object));
	struct stamp *other = heapd_exchange(&w->table->places[random_next(w) % WORKERS_TABLE], object);

	if (!other)
		return;
	HEAPD_TSAN_ACQUIRE(other, heapd_size(other));
	object_free(w, other, other->name);
}

static void step(struct worker *w)
{
	unsigned i = (unsigned)(random_next(w) % w->plan->live);

	if (!w->live[i].object) {
		w->live[i].object = object_new(w, &w->live[i].name);
		return;
	}
	object_check(w, w->live[i].object, w->live[i].name);
	if (random_next(w) % 4)
		object_free(w, w->live[i].object, w->live[i].name);
	else
		object_pass_on(w, w->live[i].object);
	w->live[i].object = NULL;
}

static void migrate(struct worker *w)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(random_next(w) % (uint64_t)cpus, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void on_signal(int number)
{
	(void)number;
}

/* A timer that interrupts this thread over and over. */
static timer_t signals_begin(unsigned us)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	struct itimerspec every = { .it_value.tv_nsec = us * 1000l, .it_interval.tv_nsec = us * 1000l };
	timer_t timer;

	event._sigev_un._tid = gettid();
	sigaction(SIGUSR1, &action, NULL);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 || timer_settime(timer, 0, &every, NULL) < 0)
		abort();
	return timer;
}

static void *work(void *arg)
{
	struct worker *w = (struct worker *)arg;
	timer_t timer = NULL;
	unsigned done = 0;

	if (w->plan->signal_us)
		timer = signals_begin(w->plan->signal_us);
	while (!atomic_load_explicit(&shared->stop, memory_order_relaxed) && (!w->steps || done < w->steps)) {
		step(w);
		if (++done % 64 == 0) {
			atomic_fetch_add_explicit(&shared->done, 64, memory_order_relaxed);
			if (w->plan->migrate)
				migrate(w);
		}
	}
	if (timer)
		timer_delete(timer);
	for (unsigned i = 0; i < w->plan->live; i++)
		if (w->live[i].object)
			object_free(w, w->live[i].object, w->live[i].name);
	return NULL;
}

struct process {
	const struct worker_plan *plan;
	unsigned index;
};

/* One attachment, with all of its threads; false: told to stop. */
static void attachment(const struct process *p, uint64_t *random, unsigned steps)
{
	bool cas = p->plan->path < 0 ? p->index % 2 == 1 : p->plan->path == 1;
	heapd_heap *heap = heap_attach(path_flags(cas), 0);
	struct worker *workers = (struct worker *)calloc(p->plan->threads, sizeof(*workers));
	pthread_t threads[WORKERS_MAX];

	for (unsigned i = 0; i < p->plan->threads; i++) {
		*random = pattern_word(*random, i);
		workers[i] = (struct worker){
			.plan = p->plan,
			.heap = heap,
			.table = (struct table *)heapd_root_get(heap, "table", NULL),
			.random = *random,
			.owner = (uint64_t)getpid() << 4 | i,
			.steps = steps,
		};
		if (!workers[i].table || pthread_create(&threads[i], NULL, work, &workers[i]))
			abort();
	}
	for (unsigned i = 0; i < p->plan->threads; i++)
		pthread_join(threads[i], NULL);
	free(workers);
	if (heapd_detach(heap) < 0)
		abort();
}

static int process(void *arg)
{
	const struct process *p = (const struct process *)arg;
	uint64_t random = pattern_word(p->plan->seed, p->index);

	do
		attachment(p, &random, p->plan->churn ? 200 : 0);
	while (!atomic_load(&shared->stop));
	if (p->plan->ended)
		p->plan->ended();
	return 0;
}

void workers_prepare(void)
{
	shared = (struct shared *)mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	heapd_heap *heap = heap_attach(0, 0);
	heapd_type *type = heapd_type_define(heap, "table", struct table, places);
	ck_assert_msg(type && heapd_root(heap, "table", struct table, type), "%s", heapd_error());
	ck_assert_int_eq(heapd_detach(heap), 0);
}

pid_t worker_start(const struct worker_plan *plan, unsigned index)
{
	struct process p = { .plan = plan, .index = index };

	ck_assert_uint_le(plan->threads, WORKERS_MAX);
	ck_assert_uint_le(plan->live, LIVE_MAX);
	return fixture_client_fork(process, &p);
}

void workers_stop(void)
{
	atomic_store(&shared->stop, true);
}

uint64_t workers_done(void)
{
	return atomic_load(&shared->done);
}

void workers_settle(bool nobody_was_killed)
{
	heapd_heap *heap = heap_attach(0, 0);
	struct table *table = (struct table *)heapd_root_get(heap, "table", NULL);
	struct worker self = { .heap = heap };
	size_t left = heapd_size(table);

	for (unsigned i = 0; i < WORKERS_TABLE; i++) {
		struct stamp *object = heapd_exchange(&table->places[i], NULL);

		if (object)
			object_free(&self, object, object->name);
	}
	if (nobody_was_killed)
		ck_assert_uint_eq(heap_allocated(heap), left);
	else
		ck_assert_uint_ge(heap_allocated(heap), left);
	ck_assert_int_eq(heapd_detach(heap), 0);
}
