/* SPDX-License-Identifier: MIT */
/*
 * Collections as a program asks for them, of a real daemon and by its own threads: what is waited for, what
 * is held, by whom and where, and what is not.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "objects.h"

#include "client/place.h"
#include "holders.h"

#include "attached.h" /* its heap is a global, which names in the others would hide */

#define OBJECT_BYTES 4096u
#define LARGE_BYTES  (24u << 20)
#define ROUNDS       200u

static void collecting_start(void)
{
	static const char *const settings[] = { "heap.test.GCPercent=1000", "heap.test.Limit=64M", NULL };

	fixture_start(&fixture, settings);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}

/* What calls that have returned left below the stack pointer is nobody's. */
static UNSEEN void stack_wipe(void)
{
	volatile char below[16384];

	for (unsigned i = 0; i < sizeof(below); i++)
		below[i] = 0;
}

/* What is unreachable when a cycle begins is free after the second one's end, at the latest. */
static void collect(void)
{
	stack_wipe();
	ck_call(heapd_collect(heap));
	ck_call(heapd_collect(heap));
	ck_call(heapd_sync(heap));
}

/*
 * The complement of an object's address, which nobody holds. So many others of its size come after it that
 * no slab of its own is a current one, or a spare: those hold whatever is in them.
 */
static UNSEEN uint64_t object_make(void)
{
	void *object = heapd_alloc_leaf(heap, OBJECT_BYTES);

	ck_assert_ptr_nonnull(object);
	pattern_fill(object, OBJECT_BYTES, 7);
	for (unsigned i = 0; i < 500; i++)
		ck_assert_ptr_nonnull(heapd_alloc_leaf(heap, OBJECT_BYTES));
	return ~(uint64_t)(uintptr_t)object;
}

static UNSEEN bool object_is_out(uint64_t inverted)
{
	struct place place;

	return place_find(heap, (const void *)(uintptr_t)~inverted, &place) &&
	       HEAPD_READ_ONCE(heap->t.out[place.slab]) & place.bit;
}

static UNSEEN bool object_is_whole(uint64_t inverted)
{
	return object_is_out(inverted) && pattern_whole((const void *)(uintptr_t)~inverted, OBJECT_BYTES, 7);
}

/* Held by a thread in one place, whatever it does meanwhile, it stays. Let go, it is taken back. */
START_TEST(held_by_a_thread)
{
	const struct holder_place *place = &holder_places[_i];
	uint64_t inverted = object_make();
	struct holder h;

	if (!holder_place_exists(place))
		return;
	holder_begin(&h, heap, place, ~inverted);
	collect();
	ck_assert_msg(object_is_whole(inverted), "%s: lost", place->name);
	holder_end(&h);
	collect();
	ck_assert_msg(!object_is_out(inverted), "%s: kept", place->name);
}
END_TEST

static UNSEEN void field_set(void **field, uint64_t inverted)
{
	heapd_store(field, (void *)(uintptr_t)~inverted);
}

/* Held by a registered range, or by a pin. */
START_TEST(held_by_a_root)
{
	static void *range[4];
	uint64_t inverted = object_make();
	void **field = &range[2];

	ck_call(heapd_range_add(heap, range, sizeof(range)));
	if (_i == 1)
		field = heapd_pin(heap, (void *)range);
	field_set(field, inverted);
	collect();
	ck_assert(object_is_whole(inverted));
	heapd_store(field, NULL);
	collect();
	ck_assert(!object_is_out(inverted));
}
END_TEST

static UNSEEN pid_t fork_with(uint64_t inverted, int ends[2])
{
	volatile uint64_t word = ~inverted;
	char c;

	ck_assert_int_eq(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[1]);
		_exit(read(ends[0], &c, 1) == 0 && word == ~inverted && object_is_whole(inverted) ? 0 : 1);
	}
	close(ends[0]);
	word = 0;
	return pid;
}

/* Held by a child that was forked while this thread had it, and never called heapd; its agent sees to it. */
START_TEST(held_by_a_child)
{
	uint64_t inverted = object_make();
	int ends[2], status;
	pid_t pid = fork_with(inverted, ends);

	collect();
	collect();
	ck_assert(object_is_whole(inverted));
	close(ends[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	for (unsigned i = 0; i < 10 && object_is_out(inverted); i++)
		collect();
	ck_assert(!object_is_out(inverted));
}
END_TEST

/* Of an offline caller nothing changes, and nobody waits for it. */
START_TEST(by_an_offline_thread)
{
	uint64_t finished = heap->t.directory->cycle.finished, sp;

	ck_call(heapd_thread_offline(heap));
	sp = heapd_record->saved_sp;
	ck_call(heapd_collect(heap));
	ck_assert_uint_gt(heap->t.directory->cycle.finished, finished);
	ck_assert_uint_eq(HEAPD_LOAD_ACQUIRE(&heapd_record->state), HEAPD_THREAD_OFFLINE);
	ck_assert_uint_eq(heapd_record->saved_sp, sp);
	ck_assert_uint_eq(heapd_record->pauses, 0);
	ck_call(heapd_thread_online(heap));
}
END_TEST

START_TEST(begun_and_not_waited_for)
{
	uint64_t finished = heap->t.directory->cycle.finished, end = fixture_now_ns() + 5000000000u;

	ck_call(heapd_collect_start(heap));
	while (HEAPD_READ_ONCE(heap->t.directory->cycle.finished) == finished && fixture_now_ns() < end)
		usleep(1000);
	ck_assert_uint_gt(heap->t.directory->cycle.finished, finished);
}
END_TEST

static UNSEEN void large_drop(void)
{
	for (unsigned i = 0; i < 2; i++)
		ck_assert_msg(heapd_alloc_leaf(heap, LARGE_BYTES) != NULL, "%s", heapd_error());
}

/* At the limit, a large object is had by collecting; if that does not help, it is refused. */
START_TEST(large_at_the_limit)
{
	void *kept[3];

	large_drop();
	stack_wipe();
	for (unsigned i = 0; i < 2; i++) {
		kept[i] = heapd_alloc_leaf(heap, LARGE_BYTES);
		ck_assert_msg(kept[i] != NULL, "%u: %s", i, heapd_error());
	}
	uint64_t finished = heap->t.directory->cycle.finished;
	kept[2] = heapd_alloc_leaf(heap, LARGE_BYTES);
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_ptr_null(kept[2]);
	ck_assert_uint_gt(heap->t.directory->cycle.finished, finished);
	heapd_keep(kept[0]);
	heapd_keep(kept[1]);
}
END_TEST

static void *collect_elsewhere(void *result)
{
	HEAPD_STORE_RELEASE((int *)result, heapd_collect(heap));
	return NULL;
}

/* A thread that holds the cycle up: it is waited for, and then the daemon is not there any more. */
START_TEST(daemon_goes_meanwhile)
{
	pthread_t thread;
	int result = 77;

	heapd_self->gate.inside++;
	ck_assert_int_eq(pthread_create(&thread, NULL, collect_elsewhere, &result), 0);
	usleep(100000);
	ck_assert_int_eq(HEAPD_LOAD_ACQUIRE(&result), 77);
	ck_assert_uint_eq(HEAPD_LOAD_ACQUIRE(&heap->threads[1].state), HEAPD_THREAD_OFFLINE);
	fixture_kill(&fixture, SIGKILL);
	pthread_join(thread, NULL);
	ck_assert_int_eq(result, -EAGAIN);
	heapd_self->gate.inside++;
	fixture_restart(&fixture);
}
END_TEST

static uint32_t round_done; /* rounds of attaching that are over */

/* Attached in each round, and then busy with something else until it is over. */
static void *spin_attached(void *ready)
{
	for (uint32_t round = 0; round < ROUNDS; round++) {
		ck_call(heapd_thread_attach(heap));
		__atomic_fetch_add((uint32_t *)ready, 1, __ATOMIC_ACQ_REL);
		while (__atomic_load_n(&round_done, __ATOMIC_ACQUIRE) <= round)
			;
	}
	return NULL;
}

/* The heap is unmapped under threads that are being asked, back to back, what they hold. */
START_TEST(detached_while_asked)
{
	static const char *const settings[] = { "heap.test.GCPercent=100", "heap.test.Debug=stress", NULL };
	pthread_t threads[2];
	uint32_t ready = 0;
	int number = heap->signal;

	ck_call(heapd_detach(heap));
	fixture_stop(&fixture);
	fixture_start(&fixture, settings);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
		ck_assert_int_eq(heap->signal, number);
		for (unsigned i = 0; i < 2 && !round; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, spin_attached, &ready), 0);
		__atomic_store_n(&round_done, round, __ATOMIC_RELEASE);
		while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < 2 * (round + 1))
			;
		usleep(round * 37 % 2000);
		ck_call(heapd_detach(heap));
	}
	__atomic_store_n(&round_done, ROUNDS, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_call(heapd_attach(&heap, FIXTURE_HEAP, NULL));
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("hold"), *computing = tcase_create("computing");
	Suite *suite = suite_create("hold");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, collecting_start, attached_stop);
	tcase_add_loop_test(tcase, held_by_a_thread, HOLDER_IN_SYSTEM_CALL, HOLDER_IN_SYSTEM_CALL + 1);
	tcase_add_loop_test(tcase, held_by_a_root, 0, 2);
	tcase_add_test(tcase, by_an_offline_thread);
	tcase_add_test(tcase, begun_and_not_waited_for);
	tcase_add_test(tcase, large_at_the_limit);
	tcase_add_test(tcase, daemon_goes_meanwhile);
	suite_add_tcase(suite, tcase);

	tcase_set_tags(computing, HOLDER_COMPUTES);
	tcase_set_timeout(computing, 60);
	tcase_add_checked_fixture(computing, collecting_start, attached_stop);
	tcase_add_loop_test(computing, held_by_a_thread, 0, HOLDER_IN_SYSTEM_CALL);
	tcase_add_loop_test(computing, held_by_a_thread, HOLDER_IN_SYSTEM_CALL + 1, HOLDER_PLACES);
	tcase_add_test(computing, held_by_a_child);
	tcase_add_test(computing, detached_while_asked);
	return attached_run(computing, suite);
}
