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
	harvest_handback(t.heap->supply, true);
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
		corrupt = HEAPD_READ_ONCE(testheap_stats(&t)->corrupt);
		ring_note_taken(t.heap->supply, 9, clock_ns());
		t.heap->t.heads[9].head = (jumps[i] > 0 ? t.heap->t.rings[9].tail : t.heap->t.heads[9].head) +
					  (uint64_t)jumps[i];
		ring_withdraw(t.heap->supply, 9, 0);
		ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->corrupt), corrupt + 1);
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
		HEAPD_WRITE_ONCE(t.heap->t.control->bell, 0xdeadbeef);
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
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->double_frees), 0);
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
		ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->corrupt), ++corrupt);
	}
	t.threads[0].handback_head = t.threads[0].handback_tail + 1;
	t.threads[1].handback_tail = UINT64_MAX;
	t.session->handback = 1;
	t.session->nthreads = UINT32_MAX;
	hold_lock_and_harvest();
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->corrupt), corrupt + 2);
	pthread_mutex_unlock(&t.heap->lock);
	testheap_is_clean(&t);
	ck_assert_uint_eq(testheap_verify(&t).allocated, t.mine_bytes);
}
END_TEST

static void words_clear(void *at, size_t bytes)
{
	for (uint64_t *word = at; bytes; bytes -= 8)
		HEAPD_WRITE_ONCE(*word++, 0);
}

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
	words_clear(t.threads, 4 * sizeof(*t.threads));
	words_clear(t.heap->t.rseq_rows, g->cpus << HEAPD_RSEQ_ROW_SHIFT);
	words_clear(t.heap->t.cas_rows, g->cpus << HEAPD_ROW_SHIFT);
	pthread_mutex_unlock(&t.heap->lock);
	reply = testheap_verify(&t);
	ck_assert_msg(!reply.faults, "%s", reply.first);
	ck_assert_uint_gt(HEAPD_READ_ONCE(testheap_stats(&t)->corrupt), 0);
}
END_TEST

/* What the supplier has used of a processor since then: percent of the time that has passed. */
struct usage {
	clockid_t clock;
	uint64_t begin, used;
};

static uint64_t clock_read(clockid_t clock)
{
	struct timespec ts;

	ck_assert_int_eq(clock_gettime(clock, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static struct usage usage_begin(void)
{
	struct usage usage = { .begin = clock_ns() };

	ck_assert_int_eq(pthread_getcpuclockid(t.heap->supply->thread, &usage.clock), 0);
	usage.used = clock_read(usage.clock);
	return usage;
}

static uint64_t usage_percent(const struct usage *usage)
{
	return (clock_read(usage->clock) - usage->used) * 100 / (clock_ns() - usage->begin);
}

static void ring_the_bell(const uint64_t demand[HEAPD_CLASS_MAX / 64])
{
	for (uint32_t w = 0; w < HEAPD_CLASS_MAX / 64; w++)
		__atomic_fetch_or(&t.heap->t.control->demand[w], demand[w], __ATOMIC_RELAXED);
	futex_wake_all(&t.heap->t.control->bell);
}

/* For two seconds; the longest that anybody waited for the heap's lock meanwhile. */
static uint64_t storm(const uint64_t demand[HEAPD_CLASS_MAX / 64])
{
	uint64_t until = clock_ns() + 2000000000u, longest = 0;

	for (uint32_t n = 0; clock_ns() < until; n++) {
		uint64_t begin;

		ring_the_bell(demand);
		if (n % 64)
			continue;
		begin = clock_ns();
		heap_lock(t.heap);
		if (clock_ns() - begin > longest)
			longest = clock_ns() - begin;
		heap_unlock(t.heap);
	}
	return longest;
}

/* Rings that are full are demanded again, all the time: that is rested from. */
START_TEST(needless_demand_costs_little)
{
	static const uint64_t demands[][HEAPD_CLASS_MAX / 64] = { { 0 }, { 1u << 9 }, { UINT64_MAX, 255 } };
	struct heapd_batch b;
	struct usage usage;
	uint64_t percent;

	ck_assert_int_eq(testheap_get(&t, 9, &b), 0);
	usage = usage_begin();
	storm(demands[_i]);
	percent = usage_percent(&usage);
	printf("storm %d: %llu %%\n", _i, (unsigned long long)percent);
	ck_assert_uint_le(percent, 45);
	ck_assert_int_eq(testheap_get(&t, 9, &b), 0);
}
END_TEST

/* Every refusal looks through the whole heap; so refusing is rested from, and others come to the lock. */
START_TEST(demand_at_the_limit_costs_little)
{
	static const uint64_t demand[HEAPD_CLASS_MAX / 64] = { UINT64_MAX, UINT64_MAX };
	struct heapd_batch b;
	struct usage usage;
	uint64_t percent, longest;

	while (testheap_get(&t, 0, &b) == 0)
		;
	usage = usage_begin();
	longest = storm(demand);
	percent = usage_percent(&usage);
	printf("%llu %%, lock %llu us\n", (unsigned long long)percent, (unsigned long long)longest / 1000);
	ck_assert_uint_le(percent, 45);
	ck_assert_uint_le(longest, 200000000);
}
END_TEST

/* A client that writes the bell all the time cannot keep the supplier asleep when it is to end. */
static void *bell_holder(void *stop)
{
	while (!HEAPD_READ_ONCE(*(bool *)stop))
		HEAPD_WRITE_ONCE(t.heap->t.control->bell, HEAPD_BELL_SLEEP);
	return NULL;
}

START_TEST(held_bell_does_not_stop_the_end)
{
	uint64_t begin;
	bool stop = false;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, bell_holder, &stop), 0);
	for (int i = 0; i < 200; i++) {
		begin = clock_ns();
		supply_stop(t.heap);
		ck_assert_uint_lt(clock_ns() - begin, 2000000000u);
		ck_assert_int_eq(supply_start(t.heap), 0);
	}
	HEAPD_WRITE_ONCE(stop, true);
	pthread_join(thread, NULL);
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
	tcase_add_loop_test(tests, needless_demand_costs_little, 0, 3);
	tcase_add_test(tests, demand_at_the_limit_costs_little);
	tcase_add_test(tests, held_bell_does_not_stop_the_end);
	suite_add_tcase(suite, tests);
	return testheap_run(suite);
}
