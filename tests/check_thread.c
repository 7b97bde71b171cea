/* SPDX-License-Identifier: MIT */
/* Threads: their records, coming and going, ranges of theirs, pins between them. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "objects.h"

#include "attached.h" /* its heap is a global, which names in objects.h would hide */
#include "client/client.h"

static void *allocate_once(void *arg)
{
	ck_assert_ptr_null(heapd_self);
	ck_assert_ptr_nonnull(heapd_alloc(heap, 64));
	ck_call(heapd_thread_attach(heap));
	ck_assert_ptr_nonnull(heapd_self);
	ck_assert_uint_eq(heapd_self->state, HEAPD_THREAD_ONLINE);
	ck_assert_uint_eq(heapd_self->tid, (uint32_t)gettid());
	ck_assert_ptr_eq(heapd_gate_, (struct heapd_gate_ *)(void *)&heapd_self->gate);
	/* A local variable lies in the stack that the record names. */
	uint64_t here = (uint64_t)(uintptr_t)&arg;
	ck_assert_uint_lt(heapd_self->stack_low, here);
	ck_assert_uint_gt(heapd_self->stack_high, here);
	return arg;
}

START_TEST(records_are_used_again)
{
	for (int i = 0; i < 200; i++) {
		pthread_t threads[2];
		for (int k = 0; k < 2; k++)
			ck_assert_int_eq(pthread_create(&threads[k], NULL, allocate_once, NULL), 0);
		for (int k = 0; k < 2; k++)
			pthread_join(threads[k], NULL);
	}
	ck_assert_uint_le(heap->session->nthreads, 3);
	for (uint32_t i = 0; i < heap->session->nthreads; i++)
		ck_assert_uint_eq(heap->threads[i].state,
				  &heap->threads[i] == heapd_self ? HEAPD_THREAD_ONLINE : HEAPD_THREAD_FREE);
}
END_TEST

static void main_stack_known(void)
{
	uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);

	ck_assert_uint_lt(heapd_self->stack_low, here);
	ck_assert_uint_gt(heapd_self->stack_high, here);
}

START_TEST(first_store_attaches)
{
	void **word = (void **)heapd_alloc(heap, 64);

	ck_call(heapd_thread_detach(heap));
	ck_assert_ptr_null(heapd_self);
	ck_assert_uint_eq(heap->threads[0].state, HEAPD_THREAD_FREE);
	heapd_store(word, (void *)word);
	ck_assert_ptr_nonnull(heapd_self);
	ck_assert_ptr_eq(*word, word);
	main_stack_known();
	ck_call(heapd_thread_detach(heap));
	ck_call(heapd_thread_detach(heap));
}
END_TEST

struct pair {
	void *a, *b;
};

/* What a thread's first call may be, on an object and a type that another thread made. */
enum {
	FIRST_ALLOC,
	FIRST_LEAF,
	FIRST_TYPED,
	FIRST_ALIGNED,
	FIRST_LARGE,
	FIRST_MANY,
	FIRST_FREE,
	FIRST_REALLOC,
	FIRST_STRDUP,
	FIRST_STORE,
	FIRST_PIN,
	FIRST_ROOT,
	FIRST_OFFLINE,
	FIRST_INFO,
	FIRST_COUNT
};

struct first {
	int call;
	void *object;
	heapd_type *type;
};

static bool first_call(const struct first *f)
{
	struct heapd_info info = HEAPD_SIZED(info);
	void *many[3];

	switch (f->call) {
	case FIRST_ALLOC:
		return heapd_alloc(heap, 64);
	case FIRST_LEAF:
		return heapd_alloc_leaf(heap, 64);
	case FIRST_TYPED:
		return heapd_new(f->type, struct pair);
	case FIRST_ALIGNED:
		return heapd_alloc_aligned(heap, 64, 64);
	case FIRST_LARGE:
		return heapd_alloc(heap, 100000);
	case FIRST_MANY:
		return heapd_alloc_many(heap, 64, 3, many) == 3;
	case FIRST_FREE:
		return heapd_free(f->object) == 0;
	case FIRST_REALLOC:
		return heapd_realloc(heap, f->object, 500);
	case FIRST_STRDUP:
		return heapd_strdup(heap, "text");
	case FIRST_STORE:
		return heapd_store_sym(f->object, f->object), true;
	case FIRST_PIN:
		return heapd_pin_sym(heap, f->object);
	case FIRST_ROOT:
		return heapd_root_set(heap, "first", f->object) == 0;
	case FIRST_OFFLINE:
		return heapd_thread_offline(heap) == 0;
	default:
		return heapd_get_info(heap, &info) == 0;
	}
}

static void *first_call_thread(void *arg)
{
	ck_assert_ptr_null(heapd_record);
	ck_assert_msg(first_call((const struct first *)arg), "%s", heapd_error());
	ck_assert_ptr_nonnull(heapd_record);
	ck_assert_uint_eq(heapd_record->tid, (uint32_t)gettid());
	ck_assert_uint_eq(heapd_record->state, ((struct first *)arg)->call == FIRST_OFFLINE
						       ? HEAPD_THREAD_OFFLINE
						       : HEAPD_THREAD_ONLINE);
	return NULL;
}

START_TEST(first_call_attaches)
{
	struct first f = { .call = _i, .object = heapd_alloc(heap, 64) };
	pthread_t thread;

	cpu_pin(sched_getcpu()); /* there are slots at hand for whoever does not ask who it is */
	f.type = heapd_type_define(heap, "pair", struct pair, a, b);
	ck_assert(f.object && heapd_new(f.type, struct pair));
	ck_assert_int_eq(pthread_create(&thread, NULL, first_call_thread, &f), 0);
	pthread_join(thread, NULL);
}
END_TEST

/* The daemon's answer comes when nobody waits for it, to a thread that is not attached: the object is freed. */
START_TEST(late_large_object)
{
	struct heapd_options options = heapd_options_default();
	uint64_t before;

	ck_call(heapd_detach(heap));
	options.request_timeout_ms = 1000; /* in which a daemon that runs does answer */
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, &options));
	before = heap_allocated(heap);
	attached_daemon_stop();
	ck_null(heapd_alloc(heap, 1 << 20), ETIMEDOUT);
	kill(fixture.daemon, SIGCONT);
	ck_call(heapd_thread_detach(heap));
	/* Its request reads the late answer first. */
	ck_assert_msg(heapd_type_define(heap, "pair", struct pair, a, b) != NULL, "%s", heapd_error());
	ck_assert_ptr_null(heapd_record);
	ck_assert_uint_eq(heap_allocated(heap), before);
}
END_TEST

static pthread_barrier_t all_there;

static void *stay_attached(void *result)
{
	*(int *)result = heapd_thread_attach(heap);
	pthread_barrier_wait(&all_there);
	pthread_barrier_wait(&all_there);
	return NULL;
}

static void *is_attached(void *arg)
{
	ck_assert_ptr_nonnull(heapd_self);
	return arg;
}

START_TEST(too_many_threads)
{
	enum { MANY = HEAPD_THREAD_MAX + 5 };
	static pthread_t threads[MANY];
	static int results[MANY];
	pthread_attr_t attr;
	unsigned refused = 0;
	pthread_t one;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	pthread_barrier_init(&all_there, NULL, MANY + 1);
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(pthread_create(&threads[i], &attr, stay_attached, &results[i]), 0);
	pthread_barrier_wait(&all_there);
	for (int i = 0; i < MANY; i++)
		refused += results[i] == -ENOSPC;
	ck_assert_uint_eq(refused, MANY - (HEAPD_THREAD_MAX - 1));
	ck_refused(heapd_thread_create(heap, &one, NULL, is_attached, NULL), ENOSPC, "1024");
	pthread_barrier_wait(&all_there);
	for (int i = 0; i < MANY; i++)
		pthread_join(threads[i], NULL);
	ck_call(heapd_thread_create(heap, &one, NULL, is_attached, NULL));
	pthread_join(one, NULL);
}
END_TEST

static void *argument_arrives(void *arg)
{
	ck_assert_ptr_nonnull(heapd_self);
	ck_assert_int_eq(*(int *)arg, 42);
	*(int *)arg = 43;
	return arg;
}

START_TEST(created_with_an_argument)
{
	int *object = (int *)heapd_alloc_leaf(heap, 16);
	pthread_t thread;
	void *returned;

	*object = 42;
	ck_call(heapd_thread_create(heap, &thread, NULL, argument_arrives, object));
	pthread_join(thread, &returned);
	ck_assert_ptr_eq(returned, object);
	ck_assert_int_eq(*object, 43);
	/* The pin that held it has ended: the next is the same one. */
	ck_assert_uint_eq(heap->session->npins, 1);
	void **pin = heapd_pin(heap, (void *)object);
	ck_assert_uint_eq(heap->session->npins, 1);
	ck_call(heapd_unpin(pin));
}
END_TEST

struct came_up {
	uint32_t on, scanned;
};

/* The phase is read after the record shows: whoever comes up in a cycle has its barrier on. */
static void *gate_of_new_thread(void *arg)
{
	struct came_up *c = (struct came_up *)arg;

	ck_call(heapd_thread_attach(heap));
	c->on = heapd_self->gate.on;
	c->scanned = heapd_self->scanned;
	return NULL;
}

START_TEST(barrier_of_new_threads)
{
	enum heapd_phase phase = (enum heapd_phase)_i;
	uint32_t on = heapd_now_barrier(heapd_now_make(7, phase)) ? 7 : 0;
	struct came_up c = { 77, 77 };
	pthread_t thread;

	attached_phase(7, phase);
	ck_assert_uint_eq(heapd_self->gate.on, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, gate_of_new_thread, &c), 0);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(c.on, on);
	/* A thread that is new holds nothing, and has answered the scan with that. */
	ck_assert_uint_eq(c.scanned, phase == HEAPD_PHASE_SCAN || phase == HEAPD_PHASE_MARK ? 7 : 0);
	ck_call(heapd_thread_offline(heap));
	ck_call(heapd_thread_online(heap));
	ck_assert_uint_eq(heapd_self->gate.on, on);
	/* One that comes back holds something: it answers in the scan, and only then. */
	ck_assert_uint_eq(heapd_self->scanned, phase == HEAPD_PHASE_SCAN ? 7 : 0);
	ck_assert_uint_eq(heapd_self->published_cycle, phase == HEAPD_PHASE_SCAN ? 7 : 0);
	attached_phase(0, HEAPD_PHASE_IDLE);
}
END_TEST

static void *detached_under(void *arg)
{
	void **word = (void **)arg;

	ck_call(heapd_thread_attach(heap));
	pthread_barrier_wait(&all_there);
	/* Here the other one detaches. */
	pthread_barrier_wait(&all_there);
	ck_assert_ptr_null(heapd_self);
	heapd_store(word, (void *)word); /* of this process's own memory now */
	ck_refused(heapd_thread_attach(heap), ENODEV, "not attached");
	pthread_barrier_wait(&all_there);
	/* Here it attaches again. */
	pthread_barrier_wait(&all_there);
	ck_call(heapd_thread_attach(heap));
	ck_assert_ptr_nonnull(heapd_alloc(heap, 64));
	return NULL;
}

START_TEST(detach_under_a_thread)
{
	pthread_t thread;
	void *word = NULL;

	pthread_barrier_init(&all_there, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, detached_under, &word), 0);
	pthread_barrier_wait(&all_there);
	ck_call(heapd_detach(heap));
	pthread_barrier_wait(&all_there);
	pthread_barrier_wait(&all_there);
	ck_assert_ptr_eq(word, &word);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
	pthread_barrier_wait(&all_there);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(heap->session->nthreads, 2);
	ck_assert_uint_eq(heap->threads[1].state, HEAPD_THREAD_FREE);
}
END_TEST

static uint64_t local_words[4];

static void *local_range(void *arg)
{
	ck_call(heapd_local_add(heap, local_words, sizeof(local_words)));
	ck_refused(heapd_local_add(heap, local_words, 8), EEXIST, "already");
	ck_assert_uint_eq(range_at(heap->session, 0)->thread, 1 + thread_index(heap, heapd_self));
	ck_refused(heapd_range_remove(heap, local_words), EINVAL, "no range");
	return arg;
}

START_TEST(ranges)
{
	static uint64_t words[HEAPD_RANGE_MAX + 1];
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, local_range, NULL), 0);
	pthread_join(thread, NULL);
	/* It ended with its thread. */
	ck_assert_uint_eq(range_at(heap->session, 0)->start, 0);
	ck_refused(heapd_range_add(heap, (char *)words + 4, 8), EINVAL, "8-byte");
	ck_refused(heapd_range_add(heap, words, 0), EINVAL, "8-byte");
	ck_refused(heapd_range_add(heap, words, SIZE_MAX & ~7ul), EINVAL, "8-byte");
	ck_refused(heapd_range_remove(heap, words), EINVAL, "no range");
	for (unsigned i = 0; i < HEAPD_RANGE_MAX; i++)
		ck_call(heapd_range_add(heap, &words[i], 8));
	ck_refused(heapd_range_add(heap, &words[HEAPD_RANGE_MAX], 8), ENOSPC, "1024");
	ck_call(heapd_range_remove(heap, &words[500]));
	ck_call(heapd_range_add(heap, &words[HEAPD_RANGE_MAX], 8));
	ck_assert_uint_eq(heap->session->nranges, HEAPD_RANGE_MAX);
}
END_TEST

/* A range that ends with the barrier on was a root until then: its words are logged. */
START_TEST(range_shaded_at_its_end)
{
	static void *words[2];
	void *object = heapd_alloc(heap, 16);

	ck_call(heapd_range_add(heap, words, sizeof(words)));
	heapd_store(&words[1], object);
	attached_phase(1, HEAPD_PHASE_MARK);
	heapd_self->scanned = 1;
	heapd_self->gate.on = 1;
	ck_call(heapd_range_remove(heap, words));
	attached_phase(0, HEAPD_PHASE_IDLE);
	heapd_self->gate.on = 0;
	ck_assert_uint_eq(heapd_self->barrier_tail, 1);
	uint64_t *ring = (uint64_t *)(void *)((char *)heap->session + HEAPD_SESSION_BARRIER_AT);
	ck_assert_uint_eq(ring[thread_index(heap, heapd_self) * HEAPD_BARRIER_RING_MAX],
			  (uint64_t)(uintptr_t)object);
	ck_assert_ptr_eq(words[1], object);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("thread");

	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, attached_start, attached_stop);
	tcase_add_test(tcase, records_are_used_again);
	tcase_add_test(tcase, first_store_attaches);
	tcase_add_loop_test(tcase, first_call_attaches, 0, FIRST_COUNT);
	tcase_add_test(tcase, late_large_object);
	tcase_add_test(tcase, too_many_threads);
	tcase_add_test(tcase, created_with_an_argument);
	tcase_add_loop_test(tcase, barrier_of_new_threads, 0, 5);
	tcase_add_test(tcase, detach_under_a_thread);
	tcase_add_test(tcase, ranges);
	tcase_add_test(tcase, range_shaded_at_its_end);
	return attached_run(tcase, suite_create("thread"));
}
