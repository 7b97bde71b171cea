/* SPDX-License-Identifier: MIT */
/* What a cycle holds, step by step, with a client that stands between two of its own. */
#include "testheap.h"

#include "daemon/holds.h"
#include "daemon/sweeper.h"

#define CLASS 20u

static struct testheap t;

static void setup(void)
{
	testheap_init(&t, 256 * MIB, 256 * MIB);
	testheap_start(&t);
}

static void teardown(void)
{
	testheap_is_clean(&t);
	testheap_deinit(&t);
}

static void hand_back(struct heapd_thread *thread, const struct heapd_batch *batch)
{
	thread->handback[thread->handback_tail % HEAPD_HANDBACK_COUNT] = *batch;
	HEAPD_STORE_RELEASE(&thread->handback_tail, thread->handback_tail + 1);
	HEAPD_STORE_RELEASE(&t.session->handback, 1);
}

/*
 * Its thread has cleared the spare when step 3 reads spares, and shows the batch when step 3 has read what is handed
 * back. The thread ends its operation before it is scanned: so before the marks are set.
 */
START_TEST(a_batch_between_spare_and_hand_back_comes_back_once)
{
	struct sweep_counts swept;
	struct heapd_batch batch;

	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	supply_sync(t.heap);
	holds_begin(t.heap);
	ck_assert_int_eq(holds_gather(t.heap), 0);
	hand_back(&t.threads[0], &batch);
	holds_end(t.heap);
	sweeper_run(t.heap, &swept);
	holds_drop(t.heap);
	/* All that the sweep took back was the batch's, or nothing: the rest is in rings. */
	ck_assert_uint_eq(swept.freed_objects, 0);
}
END_TEST

/* A thread that has been killed in that place: the sweep finds it, once. */
START_TEST(a_batch_of_the_dead_is_swept)
{
	struct sweep_counts swept;
	struct heapd_batch batch;
	uint64_t slots = 0;

	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	for (unsigned i = 0; i < HEAPD_BATCH_MAX; i++)
		slots += (uint64_t)__builtin_popcountll(batch.masks[i]);
	supply_sync(t.heap);
	holds_begin(t.heap);
	ck_assert_int_eq(holds_gather(t.heap), 0);
	holds_end(t.heap);
	sweeper_run(t.heap, &swept);
	holds_drop(t.heap);
	ck_assert_uint_eq(swept.freed_objects, slots);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("holds");
	TCase *tests = tcase_create("holds");

	tcase_set_timeout(tests, 30);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, a_batch_between_spare_and_hand_back_comes_back_once);
	tcase_add_test(tests, a_batch_of_the_dead_is_swept);
	suite_add_tcase(suite, tests);
	return testheap_run(suite);
}
