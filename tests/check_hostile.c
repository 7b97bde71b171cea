/* SPDX-License-Identifier: MIT */
/* What clients can write is never believed: heads, demand, freed bits, batches and all else, sensible or not. */
#include "testheap.h"

#define SIZE (64 * MIB)

static struct testheap t;

static void setup(void)
{
	testheap_init(&t, SIZE, SIZE);
	testheap_start(&t);
}

static void teardown(void)
{
	testheap_is_clean(&t);
	testheap_deinit(&t);
}

static void hold_lock_and_harvest(void)
{
	harvest_handback(t.heap->supply);
	harvest_freed(t.heap->supply, true);
}

static void hand_back(struct heapd_thread *thread, const struct heapd_batch *b)
{
	uint64_t tail = thread->handback_tail;

	thread->handback[tail % HEAPD_HANDBACK_COUNT] = *b;
	HEAPD_STORE_RELEASE(&thread->handback_tail, tail + 1);
	HEAPD_STORE_RELEASE(&t.session->handback, 1);
}

START_TEST(hostile_heads)
{
	static const int64_t jumps[] = { 1, 1000, -1, -300, INT64_MAX, INT64_MIN };
	struct heapd_batch b;

	for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
		uint64_t corrupt;

		ck_assert_int_eq(testheap_get(&t, 9, &b), 0);
		pthread_mutex_lock(&t.heap->lock);
		corrupt = testheap_stats(&t)->corrupt;
		ring_note_taken(t.heap->supply, 9, clock_ns());
		t.heap->t.heads[9].head = (jumps[i] > 0 ? t.heap->t.rings[9].tail : t.heap->t.heads[9].head) +
					  (uint64_t)jumps[i];
		ring_withdraw(t.heap->supply, 9, 0);
		ck_assert_uint_eq(testheap_stats(&t)->corrupt, corrupt + 1);
		ck_assert_uint_eq(t.heap->t.heads[9].head, t.heap->t.rings[9].tail);
		pthread_mutex_unlock(&t.heap->lock);
		testheap_is_clean(&t);
	}
	ck_assert_int_eq(testheap_get(&t, 9, &b), 0);
}
END_TEST

START_TEST(hostile_demand)
{
	struct heapd_batch b;

	for (int i = 0; i < 20; i++) {
		for (uint32_t w = 2; w < HEAPD_CLASS_MAX / 64; w++)
			__atomic_store_n(&t.heap->t.control->demand[w], UINT64_MAX, __ATOMIC_RELAXED);
		t.heap->t.control->bell = 0xdeadbeef;
		ck_assert_int_eq(testheap_get(&t, HEAPD_SIZECLASS_LARGE + 1, &b), 0);
	}
	for (uint32_t class = HEAPD_CLASS_BUILTIN; class < HEAPD_CLASS_MAX; ++class)
		ck_assert_uint_eq(t.heap->t.rings[class].tail, 0);
	ck_assert_uint_eq(t.heap->t.rings[HEAPD_SIZECLASS_LARGE].tail, 0);
}
END_TEST

START_TEST(hostile_freed_bits)
{
	struct heapd_batch b;
	uint64_t numbers;

	/* 3000-byte slots: slabs of 5, so most bits of each word stand for nothing. */
	ck_assert_int_eq(testheap_get(&t, heapd_sizeclass_of(3000), &b), 0);
	numbers = t.heap->supply->spans.numbers.high * HEAPD_SLAB_UNIT;
	pthread_mutex_lock(&t.heap->lock);
	for (uint64_t slab = 0; slab < t.heap->geometry.slabs; slab++)
		if (slab >= numbers || !(t.heap->t.supplied[slab]))
			t.heap->t.freed[slab] = UINT64_MAX;
	for (uint64_t w = 0; w < t.heap->geometry.slabs / 64; w++)
		t.heap->t.freed_dirty[w] = UINT64_MAX;
	t.heap->t.freed[testheap_slab(&t, &b, 0)] = UINT64_MAX << 5;
	hold_lock_and_harvest();
	pthread_mutex_unlock(&t.heap->lock);
	ck_assert_uint_eq(testheap_stats(&t)->double_frees, 0);
	testheap_is_clean(&t);
	ck_assert_uint_eq(testheap_verify(&t).allocated, t.mine_bytes);
}
END_TEST

START_TEST(hostile_handback)
{
	struct heapd_batch b;
	uint64_t corrupt = 0;

	ck_assert_int_eq(testheap_get(&t, 2, &b), 0);
	pthread_mutex_lock(&t.heap->lock);
	for (int kind = 0; kind < 8; kind++) {
		struct heapd_batch bad = b;

		switch (kind) {
		case 0:
			bad.entry = UINT64_MAX;
			break;
		case 1:
			bad.entry = heapd_entry_make(UINT32_MAX, 0, 1, 0);
			break;
		case 2:
			bad.entry = heapd_entry_make(heapd_entry_page(b.entry), 255, 0xffff, 0);
			break;
		case 3:
			bad.entry = heapd_entry_make(heapd_entry_page(b.entry), 0, 0, 0);
			break;
		case 4:
			bad.entry = heapd_entry_make(heapd_entry_page(b.entry) + 4000, 0, 1, 0);
			break;
		case 5:
			bad.class = 3;
			break;
		case 6:
			bad.class = UINT64_MAX;
			break;
		case 7:
			bad.class = HEAPD_CLASS_MAX + 2;
			break;
		}
		hand_back(&t.threads[0], &bad);
		hold_lock_and_harvest();
		ck_assert_uint_eq(testheap_stats(&t)->corrupt, ++corrupt);
	}
	t.threads[0].handback_head = t.threads[0].handback_tail + 1;
	t.threads[1].handback_tail = UINT64_MAX;
	t.session->handback = 1;
	t.session->nthreads = UINT32_MAX;
	hold_lock_and_harvest();
	ck_assert_uint_eq(testheap_stats(&t)->corrupt, corrupt + 2);
	pthread_mutex_unlock(&t.heap->lock);
	testheap_is_clean(&t);
	ck_assert_uint_eq(testheap_verify(&t).allocated, t.mine_bytes);
}
END_TEST

/* The whole of control, the freed words and spares at random, while the supplier works and others demand. */
START_TEST(random_garbage_everywhere)
{
	uint64_t random = testheap_seed(), until = clock_ns() + 3000000000u;
	const struct heapd_geometry *g = &t.heap->geometry;
	uint64_t *control = (void *)t.heap->t.control, *threads = (void *)t.threads;
	struct heapd_verify_reply reply;

	while (clock_ns() < until) {
		uint64_t value = testheap_random(&random), span = testheap_random(&random) % 64;

		if (value % 4 == 0)
			value = t.heap->t.base + span * 8192 + testheap_random(&random) % 8 * 1024;
		else if (value % 4 == 1)
			value %= 400;
		else if (value % 4 == 2)
			value = heapd_entry_make((uint32_t)span, (uint32_t)value >> 8, (uint32_t)value, 0);
		for (int i = 0; i < 4; i++) {
			HEAPD_WRITE_ONCE(control[testheap_random(&random) % (g->freed_at / 8 + 4096)], value);
			HEAPD_WRITE_ONCE(threads[testheap_random(&random) % (4 * 512)], value);
			HEAPD_WRITE_ONCE(t.heap->t.heads[testheap_random(&random) % 150].head, value % 300);
		}
		testheap_demand(&t, (uint32_t)(testheap_random(&random) % HEAPD_CLASS_MAX));
		HEAPD_WRITE_ONCE(t.session->handback, 1);
		if (testheap_random(&random) % 512 == 0)
			supply_sync(t.heap);
	}
	/* Clients that hold what is not theirs are reported; with their words cleared, all is well again. */
	pthread_mutex_lock(&t.heap->lock);
	memset(t.threads, 0, 4 * sizeof(*t.threads));
	memset(t.heap->t.rseq_rows, 0, g->cpus << HEAPD_RSEQ_ROW_SHIFT);
	memset(t.heap->t.cas_rows, 0, g->cpus << HEAPD_ROW_SHIFT);
	pthread_mutex_unlock(&t.heap->lock);
	reply = testheap_verify(&t);
	ck_assert_msg(!reply.faults, "%s", reply.first);
	ck_assert_uint_gt(testheap_stats(&t)->corrupt, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile");
	TCase *tests = tcase_create("hostile");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, hostile_heads);
	tcase_add_test(tests, hostile_demand);
	tcase_add_test(tests, hostile_freed_bits);
	tcase_add_test(tests, hostile_handback);
	tcase_add_test(tests, random_garbage_everywhere);
	suite_add_tcase(suite, tests);
	return testheap_run(suite);
}
