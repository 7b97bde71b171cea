/* SPDX-License-Identifier: MIT */
/*
 * The store barrier against its rules: what is logged, in which order, when, and what is not. The
 * test plays the daemon: it turns the barrier on and reads the thread's ring.
 */
#include "client/client.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "barriers.h"
#include "client/barrier.h"
#include "suite.h"

static void cycle_next(void)
{
	heap->t.directory->cycle.now += heapd_now_make(1, HEAPD_PHASE_IDLE);
}

START_TEST(first_store_attaches)
{
	errno = 77;
	ck_assert_ptr_null(heapd_self);
	heapd_store(&objects[0], address(1));
	ck_assert_int_eq(errno, 77);
	ck_assert_ptr_eq(objects[0], address(1));
	ck_assert_ptr_nonnull(heapd_self);
	ck_assert_ptr_eq(heapd_gate_, (struct heapd_gate_ *)(void *)&heapd_self->gate);
	ck_assert_uint_eq(heapd_self->gate.on, 0);
	ck_assert_uint_eq(heapd_self->gate.inside % 2, 0);
	ck_assert_uint_eq(heapd_self->state, HEAPD_THREAD_ONLINE);
}
END_TEST

START_TEST(off_logs_nothing)
{
	void *expected = address(1);

	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	uint64_t inside = heapd_self->gate.inside;
	heapd_store(&objects[0], address(1));
	ck_assert(heapd_cas(&objects[0], &expected, address(2)));
	ck_assert_ptr_eq(heapd_exchange(&objects[0], address(3)), address(2));
	heapd_move(&objects[1], &objects[0], 1);
	heapd_zero(&objects[0], 1);
	ck_assert_ptr_eq(objects[1], address(3));
	ck_nothing_logged();
	ck_assert_uint_eq(heapd_self->gate.inside, inside + 10);
}
END_TEST

START_TEST(store_logs_old_then_new)
{
	objects[0] = address(1);
	barrier_up();
	heapd_store(&objects[0], address(2));
	ck_assert_ptr_eq(objects[0], address(2));
	ck_logged(address(1));
	ck_logged(address(2));
	ck_nothing_logged();
	ck_assert_uint_eq(heapd_self->gate.inside % 2, 0);
}
END_TEST

START_TEST(scanned_thread_logs_old_only)
{
	objects[0] = address(1);
	barrier_up();
	heapd_self->scanned = 1;
	heapd_store(&objects[0], address(2));
	ck_logged(address(1));
	ck_nothing_logged();
}
END_TEST

/* A record that is not sure whether the barrier is on counts as on, and as not scanned. */
START_TEST(unsure_is_on)
{
	objects[0] = address(1);
	barrier_up();
	heapd_self->scanned = 1;
	heapd_self->gate.on = HEAPD_GATE_UNSURE;
	heapd_store(&objects[0], address(2));
	ck_logged(address(1));
	ck_logged(address(2));
	ck_nothing_logged();
	ck_assert_uint_eq(heapd_self->gate.on, HEAPD_GATE_UNSURE);
}
END_TEST

/* "Has scanned" is of the cycle that the gate names, not of the one that the directory shows meanwhile. */
START_TEST(scanned_is_of_the_gates_cycle)
{
	objects[0] = address(1);
	barrier_up();
	heapd_self->scanned = 1;
	heap->t.directory->cycle.now = heapd_now_make(2, HEAPD_PHASE_BARRIER);
	heapd_store(&objects[0], address(2));
	ck_logged(address(1));
	ck_nothing_logged();
	/* Left on: the daemon is about to write the new number. */
	ck_assert_uint_eq(heapd_self->gate.on, 1);
	heapd_self->gate.on = 2;
	heapd_store(&objects[0], address(3));
	ck_logged(address(2));
	ck_logged(address(3));
	ck_nothing_logged();
	ck_assert_uint_eq(heapd_self->barrier_slow, 2);
}
END_TEST

/* Who meets a barrier that is on while no cycle is under way switches it off; _i: how it meets it. */
START_TEST(switched_off_by_who_meets_it)
{
	static const enum heapd_phase over[] = { HEAPD_PHASE_IDLE, HEAPD_PHASE_SWEEP };
	void *expected = address(1), *no_object = NULL;

	for (unsigned k = 0; k < 2; k++) {
		objects[0] = address(1);
		barrier_up();
		heap->t.directory->cycle.now = heapd_now_make(k ? 1 : 5, over[k]);
		uint64_t slow = heapd_self->barrier_slow;
		if (_i == 0)
			heapd_store(&objects[0], address(2));
		else if (_i == 1)
			ck_assert(heapd_cas(&objects[0], &expected, address(2)));
		else if (_i == 2)
			ck_assert_ptr_eq(heapd_exchange(&objects[0], address(2)), address(1));
		else if (_i == 3)
			heapd_move(&objects[0], &objects[1], 1);
		else
			ck_assert_int_eq(heapd_edit_begin(&no_object, 8), 0);
		ck_nothing_logged();
		ck_assert_uint_eq(heapd_self->gate.on, 0);
		ck_assert_uint_eq(heapd_self->barrier_slow, slow + 1);
		heapd_edit_end(&no_object);
	}
}
END_TEST

START_TEST(null_and_foreign_are_skipped)
{
	static int foreign;

	barrier_up();
	heapd_store(&objects[0], (void *)&foreign);
	heapd_store(&objects[0], NULL);
	objects[0] = (void *)(uintptr_t)(heap->t.base + heap->t.size);
	heapd_store(&objects[0], (void *)(uintptr_t)(heap->t.base - 1));
	ck_nothing_logged();
	objects[0] = (void *)(uintptr_t)(heap->t.base + heap->t.size - 1);
	heapd_store(&objects[0], (void *)(uintptr_t)heap->t.base);
	ck_logged((void *)(uintptr_t)(heap->t.base + heap->t.size - 1));
	ck_logged((void *)(uintptr_t)heap->t.base);
	ck_nothing_logged();
}
END_TEST

START_TEST(filter_forgets_with_the_cycle)
{
	barrier_up();
	heapd_store(&objects[0], address(1));
	heapd_store(&objects[1], address(1));
	heapd_store(&objects[0], address(1));
	ck_logged(address(1));
	ck_nothing_logged();
	cycle_next();
	heapd_store(&objects[0], NULL);
	ck_logged(address(1));
	ck_nothing_logged();
}
END_TEST

START_TEST(filter_holds_back_nothing_else)
{
	barrier_up();
	for (unsigned i = 0; i < 1000; i++)
		heapd_store(&objects[0], address(i));
	for (unsigned i = 0; i < 1000; i++)
		ck_logged(address(i));
	ck_nothing_logged();
}
END_TEST

START_TEST(exchange_logs)
{
	objects[0] = address(1);
	barrier_up();
	ck_assert_ptr_eq(heapd_exchange(&objects[0], address(2)), address(1));
	ck_logged(address(1));
	ck_logged(address(2));
	ck_assert_ptr_eq(heapd_exchange_relaxed(&objects[0], NULL), address(2));
	ck_nothing_logged(); /* the filter knows it */
	cycle_next();
	objects[0] = address(3);
	ck_assert_ptr_eq(heapd_exchange_relaxed(&objects[0], NULL), address(3));
	ck_logged(address(3));
	ck_nothing_logged();
}
END_TEST

START_TEST(cas_logs_what_it_removes)
{
	void *expected = address(1);

	objects[0] = address(1);
	barrier_up();
	ck_assert(heapd_cas(&objects[0], &expected, address(2)));
	ck_assert_ptr_eq(objects[0], address(2));
	ck_logged(address(1));
	ck_logged(address(2));
	expected = address(3);
	ck_assert(!heapd_cas_relaxed(&objects[0], &expected, address(4)));
	ck_assert_ptr_eq(expected, address(2));
	ck_assert_ptr_eq(objects[0], address(2));
}
END_TEST

/* As memmove does, for each way in which two runs of more than one share can lie; _i: how far apart. */
START_TEST(move_is_memmove)
{
	static const int shifts[] = { -70, -64, -1, 0, 1, 63, 64, 70 };
	static const size_t lengths[] = { 0, 1, 63, 64, 65, 120 };
	void *model[WORDS];

	for (int on = 0; on < 2; on++) {
		for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
			for (unsigned i = 0; i < WORDS; i++)
				model[i] = objects[i] = address(i);
			ck_assert_int_eq(heapd_thread_attach(heap), 0);
			heapd_self->gate.on = (uint32_t)on;
			heap->t.directory->cycle.now = on ? heapd_now_make(1, HEAPD_PHASE_MARK) : 0;
			void **from = &objects[70], **to = from + shifts[_i];
			heapd_move(to, from, lengths[k]);
			memmove(&model[70 + shifts[_i]], &model[70], lengths[k] * sizeof(void *));
			ck_assert_mem_eq(objects, model, sizeof(model));
		}
	}
}
END_TEST

START_TEST(move_logs_each_word)
{
	for (unsigned i = 0; i < 5; i++)
		objects[i] = address(i);
	barrier_up();
	heapd_self->scanned = 1;
	heapd_move(&objects[1], &objects[0], 3);
	ck_logged(address(3));
	ck_logged(address(2));
	ck_logged(address(1));
	ck_nothing_logged();
	cycle_next();
	heapd_self->scanned = 0;
	heapd_move(&objects[0], &objects[4], 1);
	ck_logged(address(0));
	ck_logged(address(4));
	ck_nothing_logged();
}
END_TEST

START_TEST(zero_logs_each_word)
{
	for (unsigned i = 0; i < 130; i++)
		objects[i] = address(i);
	barrier_up();
	heapd_zero(objects, 129);
	for (unsigned i = 0; i < 129; i++) {
		ck_logged(address(i));
		ck_assert_ptr_null(objects[i]);
	}
	ck_nothing_logged();
	ck_assert_ptr_eq(objects[129], address(129));
}
END_TEST

START_TEST(pinned_and_relaxed_stores)
{
	void *pin = address(5);

	objects[0] = address(1);
	barrier_up();
	heapd_store_pinned(&objects[0], &pin);
	ck_assert_ptr_eq(objects[0], address(5));
	ck_logged(address(1));
	ck_logged(address(5));
	heapd_store_relaxed(&objects[0], address(6));
	ck_assert_ptr_eq(objects[0], address(6));
	ck_logged(address(6));
	ck_nothing_logged();
}
END_TEST

START_TEST(ring_wraps)
{
	barrier_up();
	seen = heapd_self->barrier_tail = heapd_self->barrier_head = HEAPD_BARRIER_RING - 1;
	heapd_store(&objects[0], address(1));
	heapd_store(&objects[0], address(2));
	ck_logged(address(1));
	ck_logged(address(2));
	ck_nothing_logged();
}
END_TEST

/* The store is done, the cycle voided, and nothing that is still to be read is written over. */
START_TEST(full_ring_voids_the_cycle)
{
	barrier_up();
	seen = heapd_self->barrier_tail = HEAPD_BARRIER_RING + 7;
	heapd_self->barrier_head = 8;
	heapd_store(&objects[0], address(1));
	ck_logged(address(1));
	ck_assert_uint_eq(heap->session->overflow, 0);
	heapd_store(&objects[0], address(2));
	ck_assert_ptr_eq(objects[0], address(2));
	ck_nothing_logged();
	ck_assert_uint_eq(heap->session->overflow, 1);
	heapd_self->barrier_head++;
	heapd_store(&objects[1], address(2));
	ck_logged(address(2)); /* what was dropped is not taken for known */
}
END_TEST

/* A store goes straight on once the thread has looked at its ring: to the same effect. */
START_TEST(straight_stores_log_the_same)
{
	barrier_up();
	heapd_store(&objects[0], address(1));
	ck_logged(address(1));
	heapd_store(&objects[0], address(2));
	ck_assert_ptr_eq(objects[0], address(2));
	ck_logged(address(2)); /* 1 is known */
	objects[1] = address(7);
	heapd_store(&objects[1], address(8));
	ck_logged(address(7));
	ck_logged(address(8));
	objects[1] = address(9);
	heapd_self->gate.on = 0; /* as if handshake 1 had yet to come */
	heapd_store_sym(&objects[1], address(6));
	ck_assert_ptr_eq(objects[1], address(6));
	ck_nothing_logged();
	heapd_self->gate.on = 1;
	heapd_self->scanned = 1;
	objects[1] = address(4);
	heapd_store(&objects[1], address(5));
	ck_logged(address(4));
	ck_nothing_logged();
	ck_assert_uint_eq(heapd_self->gate.inside % 2, 0);
}
END_TEST

/* Who has answered, and is known to have, has not in the next cycle; and each `now` is looked at. */
START_TEST(an_answer_is_of_its_cycle)
{
	barrier_up();
	heapd_self->scanned = 1;
	for (unsigned i = 0; i < 3; i++)
		heapd_store(&objects[0], address(i + 1));
	ck_logged(address(1));
	ck_logged(address(2));
	cycle_next();
	heapd_self->gate.on = 2;
	for (unsigned i = 1; i <= 2; i++) {
		objects[i] = address(4 + i);
		heapd_store(&objects[i], address(6 + i));
		ck_logged(address(4 + i));
		ck_logged(address(6 + i));
	}
	heapd_self->scanned = 2;
	objects[3] = address(9);
	heapd_store(&objects[3], address(10));
	ck_logged(address(9));
	ck_nothing_logged();
	heap->t.directory->cycle.now = heapd_now_make(2, HEAPD_PHASE_IDLE);
	heapd_store(&objects[3], address(11));
	ck_nothing_logged();
	ck_assert_uint_eq(heapd_self->gate.on, 0);
}
END_TEST

/* Two words of one store where there is room for one. */
START_TEST(straight_store_at_the_end)
{
	barrier_up();
	heapd_store(&objects[0], address(1));
	ck_logged(address(1));
	seen = heapd_self->barrier_tail = HEAPD_BARRIER_RING - 1;
	objects[1] = address(2);
	heapd_store(&objects[1], address(3));
	ck_logged(address(2));
	ck_nothing_logged();
	ck_assert_uint_eq(heap->session->overflow, 1);
	seen = 0;
	ck_logged(address(1)); /* is still to be read */
}
END_TEST

/* A word that is logged as the barriers go off: the next store finds that they are. */
START_TEST(straight_stores_end_with_the_cycle)
{
	barrier_up();
	heap->t.directory->cycle.now = heapd_now_make(1, HEAPD_PHASE_SWEEP);
	barrier_shade(heapd_self, address(1));
	ck_logged(address(1));
	heapd_store(&objects[0], address(2));
	ck_nothing_logged();
	ck_assert_uint_eq(heapd_self->gate.on, 0);
}
END_TEST

static void *record_take(void *unused)
{
	(void)unused;
	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	pause();
	return NULL;
}

/* Each record has its ring, and a view of its own. */
START_TEST(another_record_another_ring)
{
	struct heapd_thread *before;
	pthread_t thread;

	barrier_up();
	heapd_store(&objects[0], address(1));
	ck_logged(address(1));
	before = heapd_self;
	ck_assert_int_eq(heapd_thread_detach(heap), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, record_take, NULL), 0);
	while (HEAPD_LOAD_ACQUIRE(&before->state) != HEAPD_THREAD_ONLINE)
		usleep(1000);
	ck_assert_int_eq(heapd_thread_attach(heap), 0);
	ck_assert_ptr_ne(heapd_self, before);
	ck_assert_uint_eq(heapd_self->gate.on, 1);
	seen = heapd_self->barrier_tail = 0;
	heapd_self->scanned = 0;
	heapd_store(&objects[0], address(2));
	ck_logged(address(1));
	ck_logged(address(2));
	ck_nothing_logged();
}
END_TEST

static void *store_elsewhere(void *unused)
{
	(void)unused;
	errno = 0;
	heapd_store(&objects[0], address(9));
	return NULL;
}

START_TEST(thread_that_cannot_attach_voids_the_cycle)
{
	pthread_t thread;

	barrier_up();
	for (unsigned i = 0; i < HEAPD_THREAD_MAX / 64; i++)
		heap->threads_claimed[i] = UINT64_MAX;
	ck_assert_int_eq(pthread_create(&thread, NULL, store_elsewhere, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert_ptr_eq(objects[0], address(9));
	ck_assert_uint_eq(heap->session->overflow, 1);
}
END_TEST

START_TEST(without_attachment_a_plain_store)
{
	void *word = NULL, *expected = address(1);

	heapd_process = NULL;
	heapd_store(&word, address(1));
	ck_assert(heapd_cas(&word, &expected, address(2)));
	ck_assert_ptr_eq(heapd_exchange(&word, NULL), address(2));
	ck_assert_ptr_null(heapd_self);
	ck_assert_int_eq(heapd_edit_begin(&word, 8), -ENODEV);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("barrier");
	TCase *stores = tcase_create("stores");

	tcase_add_checked_fixture(stores, setup, NULL);
	tcase_add_test(stores, first_store_attaches);
	tcase_add_test(stores, off_logs_nothing);
	tcase_add_test(stores, store_logs_old_then_new);
	tcase_add_test(stores, scanned_thread_logs_old_only);
	tcase_add_test(stores, unsure_is_on);
	tcase_add_test(stores, scanned_is_of_the_gates_cycle);
	tcase_add_loop_test(stores, switched_off_by_who_meets_it, 0, 5);
	tcase_add_test(stores, null_and_foreign_are_skipped);
	tcase_add_test(stores, filter_forgets_with_the_cycle);
	tcase_add_test(stores, filter_holds_back_nothing_else);
	tcase_add_test(stores, exchange_logs);
	tcase_add_test(stores, cas_logs_what_it_removes);
	tcase_add_loop_test(stores, move_is_memmove, 0, 8);
	tcase_add_test(stores, move_logs_each_word);
	tcase_add_test(stores, zero_logs_each_word);
	tcase_add_test(stores, pinned_and_relaxed_stores);
	tcase_add_test(stores, ring_wraps);
	tcase_add_test(stores, full_ring_voids_the_cycle);
	tcase_add_test(stores, straight_stores_log_the_same);
	tcase_add_test(stores, an_answer_is_of_its_cycle);
	tcase_add_test(stores, straight_store_at_the_end);
	tcase_add_test(stores, straight_stores_end_with_the_cycle);
	tcase_add_test(stores, another_record_another_ring);
	tcase_add_test(stores, thread_that_cannot_attach_voids_the_cycle);
	tcase_add_test(stores, without_attachment_a_plain_store);
	suite_add_tcase(suite, stores);

	return suite_run(suite);
}
