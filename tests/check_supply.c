/* SPDX-License-Identifier: MIT */
/*
 * Supply, with a client that is nothing but the protocol: what is given was free, and given once; what comes back
 * can be given again; rings wrap; limits refuse and recover; what idles is taken back.
 */
#include <pthread.h>
#include <sched.h>

#include "daemon/visit.h"
#include "heapd/rseq.h"
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

static void zeroed_entries_are_zero(const struct heapd_batch *b)
{
	uint32_t first = heapd_entry_page(b->entry);
	uint64_t elemsize = t.heap->t.spans[first].elemsize;

	for (unsigned i = 0; i < HEAPD_BATCH_MAX; i++)
		for (uint64_t bits = b->masks[i]; bits; bits &= bits - 1) {
			char *slot = testheap_slot(&t, first, heapd_entry_slab(b->entry) + i,
						   (unsigned)__builtin_ctzll(bits));

			if (b->entry & HEAPD_ENTRY_ZEROED)
				ck_assert(!slot[0] && memcmp(slot, slot + 1, elemsize - 1) == 0);
			memset(slot, 0xa5, elemsize);
		}
}

START_TEST(every_small_class_is_supplied)
{
	struct heapd_batch b;

	for (uint32_t class = 0; class < HEAPD_CLASS_BUILTIN; ++class) {
		if (!t.heap->t.classes[class].slot_size)
			continue;
		ck_assert_int_eq(testheap_get(&t, class, &b), 0);
		ck_assert(heapd_entry_present(b.entry) && b.masks[0]);
		ck_assert_uint_eq(t.heap->t.spans[heapd_entry_page(b.entry)].elemsize,
				  t.heap->t.classes[class].slot_size);
		zeroed_entries_are_zero(&b);
		testheap_free(&t, &b, 0x5555555555555555);
	}
	testheap_balances(&t);
}
END_TEST

START_TEST(what_was_used_is_not_called_zero)
{
	static struct heapd_batch batches[200];
	uint32_t class = heapd_sizeclass_of(1024);
	bool zeroed = false;

	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 200; i++) {
			ck_assert_int_eq(testheap_get(&t, class, &batches[i]), 0);
			zeroed |= batches[i].entry & HEAPD_ENTRY_ZEROED;
			zeroed_entries_are_zero(&batches[i]);
		}
		for (int i = 0; i < 200; i++)
			testheap_free(&t, &batches[i],
				      testheap_random(&(uint64_t){ (uint64_t)(round * 200 + i + 1) }));
		supply_sync(t.heap);
		memset(t.mine, 0,
		       t.heap->geometry.slabs *
			       8); /* what was kept is forgotten: the model is only for doubles */
		t.mine_bytes = 0;
	}
	ck_assert(zeroed);
}
END_TEST

static struct heapd_batch many[8192];

static unsigned take_until_refused(uint32_t class)
{
	unsigned n = 0;

	while (n < 8192 && testheap_get(&t, class, &many[n]) == 0)
		n++;
	ck_assert_uint_lt(n, 8192);
	return n;
}

START_TEST(a_full_heap_refuses_and_recovers)
{
	uint32_t class = heapd_sizeclass_of(16384), other = heapd_sizeclass_of(2048);
	unsigned n = take_until_refused(class);
	struct heapd_batch b;

	ck_assert_uint_gt(t.mine_bytes, SIZE * 9 / 10);
	ck_assert_uint_le(HEAPD_READ_ONCE(testheap_stats(&t)->committed), SIZE);
	ck_assert_uint_gt(HEAPD_READ_ONCE(testheap_stats(&t)->refusals), 0);
	ck_assert_int_eq(testheap_get(&t, other, &b), -ENOMEM);
	/* One object freed: one of the same class can be had; all freed: another class as well. */
	testheap_free(&t, &many[0], UINT64_MAX);
	ck_assert_int_eq(testheap_get(&t, class, &many[0]), 0);
	for (unsigned i = 0; i < n; i++)
		testheap_free(&t, &many[i], UINT64_MAX);
	ck_assert_int_eq(testheap_get(&t, other, &b), 0);
	testheap_balances(&t);
}
END_TEST

/* What lies in the rings of others is given up for who has nothing. */
START_TEST(a_full_heap_takes_from_idle_rings)
{
	struct supply *s = t.heap->supply;

	pthread_mutex_lock(&t.heap->lock);
	for (uint32_t class = 40; class < 70; ++class) {
		s->classes[class].target = MIB;
		ring_fill(s, class);
	}
	heap_set_limit(t.heap, HEAPD_READ_ONCE(testheap_stats(&t)->committed));
	pthread_mutex_unlock(&t.heap->lock);
	take_until_refused(heapd_sizeclass_of(32768));
	ck_assert_uint_gt(t.mine_bytes, HEAPD_READ_ONCE(testheap_stats(&t)->limit) * 9 / 10);
}
END_TEST

static void hold_lock_and_harvest(void)
{
	harvest_handback(t.heap->supply, true);
	harvest_freed(t.heap->supply, true);
}

START_TEST(double_free_in_the_ledger)
{
	struct heapd_batch b;
	uint32_t slab;

	ck_assert_int_eq(testheap_get(&t, 4, &b), 0);
	slab = testheap_slab(&t, &b, 0);
	pthread_mutex_lock(&t.heap->lock);
	testheap_free(&t, &b, 1);
	hold_lock_and_harvest();
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->double_frees), 0);
	ck_assert(!(t.heap->t.out[slab] & 1));
	testheap_free_bits(&t, slab, 1);
	hold_lock_and_harvest();
	pthread_mutex_unlock(&t.heap->lock);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->double_frees), 1);
	ck_assert(testheap_logged(&t, "double free of 1 object(s) of 80 bytes"));
	testheap_balances(&t);
}
END_TEST

START_TEST(double_free_in_a_ring)
{
	struct heapd_batch b;
	struct supply *s = t.heap->supply;
	uint32_t slab;
	uint64_t in_rings;

	pthread_mutex_lock(&t.heap->lock);
	s->classes[4].target = MIB;
	ck_assert_int_eq(ring_fill(s, 4), 0);
	in_rings = HEAPD_READ_ONCE(testheap_stats(&t)->in_rings);
	uint64_t entry = t.heap->t.rings[4].slots[t.heap->t.heads[4].head % HEAPD_RING_SLOTS];

	slab = t.heap->t.spans[heapd_entry_page(entry)].slab0 + heapd_entry_slab(entry);
	testheap_free_bits(&t, slab, 6);
	hold_lock_and_harvest();
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->double_frees), 2);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->in_rings), in_rings);
	ck_assert_uint_eq(t.heap->t.out[slab], UINT64_MAX);
	ck_assert(testheap_take(&t, 4, &b));
	pthread_mutex_unlock(&t.heap->lock);
	ck_assert_uint_eq(b.masks[0], UINT64_MAX);
	testheap_balances(&t);
}
END_TEST

static uint64_t base_of(const struct heapd_batch *b, unsigned i)
{
	return (uint64_t)(uintptr_t)testheap_slot(&t, heapd_entry_page(b->entry),
						  heapd_entry_slab(b->entry) + i, 0);
}

static struct heapd_pair *cas_word(uint64_t cpu, uint32_t class)
{
	return &t.heap->t.cas_rows[(cpu << (HEAPD_ROW_SHIFT - HEAPD_CURRENT_SHIFT)) + class];
}

START_TEST(double_free_in_a_current_slab)
{
	struct heapd_batch b;
	struct heapd_pair empty = { 0 };
	uint32_t slab;

	ck_assert_int_eq(testheap_get(&t, 4, &b), 0);
	slab = testheap_slab(&t, &b, 0);
	/* Slots 0 and 1 are allocated, the others free in the current slab. */
	ck_assert(heapd_pair_cas(cas_word(0, 4), &empty,
				 (struct heapd_pair){ base_of(&b, 0), b.masks[0] & ~3ull }));
	pthread_mutex_lock(&t.heap->lock);
	testheap_free_bits(&t, slab, 5);
	hold_lock_and_harvest();
	pthread_mutex_unlock(&t.heap->lock);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->double_frees), 1);
	ck_assert_uint_eq(t.heap->t.out[slab], UINT64_MAX & ~1ull);
}
END_TEST

START_TEST(double_free_in_a_spare)
{
	struct heapd_batch b;
	uint32_t slab;

	ck_assert_int_eq(testheap_get(&t, 4, &b), 0);
	slab = testheap_slab(&t, &b, 0);
	pthread_mutex_lock(&t.heap->lock);
	t.threads[1].spares[2] = b;
	testheap_free_bits(&t, slab, 1);
	hold_lock_and_harvest();
	ck_assert_uint_eq(t.heap->t.out[slab] & 1, 1);
	ck_assert_uint_eq(t.heap->t.freed[slab], 0);
	pthread_mutex_unlock(&t.heap->lock);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->double_frees), 1);
}
END_TEST

START_TEST(a_free_while_installing_is_judged_later)
{
	struct heapd_batch b;
	struct heapd_thread *thread = &t.threads[1];
	uint32_t slab;

	ck_assert_int_eq(testheap_get(&t, 4, &b), 0);
	slab = testheap_slab(&t, &b, 0);
	pthread_mutex_lock(&t.heap->lock);
	thread->installing_mask = b.masks[0];
	thread->installing = heapd_entry_make(heapd_entry_page(b.entry), heapd_entry_slab(b.entry), 1, 0);
	testheap_free_bits(&t, slab, 1);
	hold_lock_and_harvest();
	ck_assert_uint_eq(t.heap->t.out[slab] & 1, 1);
	ck_assert_uint_eq(t.heap->t.freed[slab], 1);
	ck_assert(t.heap->t.freed_dirty[slab / 64] >> (slab % 64) & 1);
	/* It was current already, the slot was popped, the free was right. */
	thread->installing = 0;
	harvest_freed(t.heap->supply, false);
	ck_assert_uint_eq(t.heap->t.out[slab] & 1, 0);
	ck_assert_uint_eq(t.heap->t.freed[slab], 0);
	pthread_mutex_unlock(&t.heap->lock);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->double_frees), 0);
	testheap_disown(&t, slab, 1, 80);
	testheap_balances(&t);
}
END_TEST

static void hand_back(struct heapd_thread *thread, const struct heapd_batch *b)
{
	uint64_t tail = thread->handback_tail;

	thread->handback[tail % HEAPD_HANDBACK_COUNT] = *b;
	HEAPD_STORE_RELEASE(&thread->handback_tail, tail + 1);
	HEAPD_STORE_RELEASE(&t.session->handback, 1);
}

static void disown_batch(const struct heapd_batch *b)
{
	for (unsigned i = 0; i < HEAPD_BATCH_MAX; i++)
		if (b->masks[i])
			testheap_disown(&t, testheap_slab(&t, b, i), b->masks[i],
					t.heap->t.spans[heapd_entry_page(b->entry)].elemsize);
}

START_TEST(batches_are_handed_back)
{
	struct heapd_batch b;

	for (int round = 0; round < 100; round++) {
		ck_assert_int_eq(testheap_get(&t, (uint32_t)round % 10, &b), 0);
		disown_batch(&b);
		hand_back(&t.threads[round % 3], &b);
		if (round % 5 == 0)
			supply_sync(t.heap);
		if (round % 5 == 0)
			ck_assert_uint_eq(t.threads[round % 3].handback_head,
					  t.threads[round % 3].handback_tail);
	}
	testheap_balances(&t);
	ck_assert_uint_ge(HEAPD_READ_ONCE(testheap_stats(&t)->handed_back_slabs), 100);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->corrupt), 0);
}
END_TEST

/* Handed back twice, the second time while the slots lie in a ring again: the ring keeps them. */
START_TEST(a_batch_handed_back_twice_does_no_harm)
{
	struct heapd_batch b;
	struct supply *s = t.heap->supply;

	ck_assert_int_eq(testheap_get(&t, 6, &b), 0);
	pthread_mutex_lock(&t.heap->lock);
	disown_batch(&b);
	hand_back(&t.threads[0], &b);
	hold_lock_and_harvest();
	s->classes[6].target = MIB;
	ring_fill(s, 6);
	hand_back(&t.threads[0], &b);
	hold_lock_and_harvest();
	pthread_mutex_unlock(&t.heap->lock);
	testheap_is_clean(&t);
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(testheap_get(&t, 6, &b), 0);
}
END_TEST

START_TEST(idle_rings_are_withdrawn)
{
	struct heapd_batch b;

	for (uint32_t class = 0; class < 60; ++class)
		for (int i = 0; i < 4; i++) {
			ck_assert_int_eq(testheap_get(&t, class, &b), 0);
			testheap_free(&t, &b, UINT64_MAX);
		}
	ck_assert_uint_gt(HEAPD_READ_ONCE(testheap_stats(&t)->in_rings), 0);
	ck_assert(testheap_falls(&testheap_stats(&t)->in_rings, 0));
	ck_assert(testheap_falls(&testheap_stats(&t)->in_spans, 0));
	testheap_balances(&t);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->out), 0);
}
END_TEST

static uint64_t target_of(uint32_t class)
{
	uint64_t target;

	pthread_mutex_lock(&t.heap->lock);
	target = t.heap->supply->classes[class].target;
	pthread_mutex_unlock(&t.heap->lock);
	return target;
}

/* What is taken keeps coming: a class in use is not withdrawn, nor halved, in the middle of its use. */
START_TEST(rings_in_use_keep_their_target)
{
	uint32_t class = heapd_sizeclass_of(64);
	uint64_t least = UINT64_MAX, begin = clock_ns(), last = begin, now = begin;
	struct heapd_batch b;

	for (; now - begin < 3000000000u; last = now) {
		ck_assert_int_eq(testheap_get(&t, class, &b), 0);
		testheap_free(&t, &b, UINT64_MAX);
		now = clock_ns();
		/* Whom others keep from a processor has not used it: begun anew. */
		if (now - last > 300000000u) {
			begin = now;
			least = UINT64_MAX;
		}
		if (now - begin > 500000000u && target_of(class) < least)
			least = target_of(class);
	}
	ck_assert_uint_ge(least * 2, target_of(class));
	testheap_balances(&t);
}
END_TEST

/* Currents of all classes on every CPU: more than the bound, unless somebody takes them back. */
static uint64_t strand(uint32_t cpus, bool rseq)
{
	uint64_t bytes = 0;

	for (uint32_t cpu = 0; cpu < cpus; cpu++)
		for (uint32_t class = 24; class < HEAPD_CLASS_BUILTIN; ++class) {
			struct heapd_pair empty = { 0 };
			struct heapd_batch b;

			if (t.heap->t.classes[class].slot_size < 256)
				continue;
			ck_assert_int_eq(testheap_get(&t, class, &b), 0);
			for (unsigned i = 1; i < HEAPD_BATCH_MAX; i++)
				if (b.masks[i])
					testheap_free_bits(&t, testheap_slab(&t, &b, i), b.masks[i]);
			/* Free, in a current slab: withdrawn before the last is there, it may come again. */
			testheap_disown(&t, testheap_slab(&t, &b, 0), b.masks[0],
					t.heap->t.classes[class].slot_size);
			if (rseq)
				ck_assert(heapd_rseq_install(&t.heap->t.rseq_rows[class],
							     (uint32_t)t.heap->geometry.cpus, base_of(&b, 0),
							     b.masks[0], HEAPD_WAY_ALLOCATING));
			else
				ck_assert(heapd_pair_cas(cas_word(cpu, class), &empty,
							 (struct heapd_pair){ base_of(&b, 0), b.masks[0] }));
			bytes += (uint64_t)__builtin_popcountll(b.masks[0]) *
				 t.heap->t.classes[class].slot_size;
		}
	return bytes;
}

static void stranded_comes_back(uint64_t bytes)
{
	const struct heapd_stats *stats = testheap_stats(&t);

	ck_assert_uint_gt(bytes, SUPPLY_STRANDED_MIN);
	ck_assert(testheap_falls(&stats->in_rings, 0));
	ck_assert(testheap_falls(&stats->out, SUPPLY_STRANDED_MIN));
	ck_assert_uint_gt(HEAPD_READ_ONCE(stats->withdrawals), 0);
	ck_assert_uint_eq(HEAPD_READ_ONCE(stats->corrupt), 0);
	supply_sync(t.heap);
	testheap_is_clean(&t);
	ck_assert_uint_eq(testheap_verify(&t).allocated, 0);
}

/* Rows of more CPUs than this machine has: these can be taken from anywhere. */
START_TEST(stranded_cas_currents_are_withdrawn)
{
	teardown();
	testheap_init_with(&t, SIZE, SIZE, CONFIG_HUGE_NEVER, 8);
	testheap_start(&t);
	stranded_comes_back(strand(8, false));
}
END_TEST

START_TEST(stranded_rseq_currents_are_withdrawn)
{
#if HEAPD_HAVE_RSEQ
	cpu_set_t before, one;
	uint64_t bytes = strand((uint32_t)t.heap->geometry.cpus, false);

	if (!heapd_rseq_usable((uint32_t)t.heap->geometry.cpus)) {
		printf("SKIP stranded_rseq_currents_are_withdrawn: no restartable sequences here\n");
		return;
	}
	ck_assert_int_eq(sched_getaffinity(0, sizeof(before), &before), 0);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &before))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
		bytes += strand(1, true);
	}
	sched_setaffinity(0, sizeof(before), &before);
	stranded_comes_back(bytes);
	for (uint64_t at = 0; at < t.heap->geometry.cpus * HEAPD_CLASS_MAX; at++)
		ck_assert_uint_eq(
			t.heap->t.rseq_rows[at].slabs[0].bits | t.heap->t.rseq_rows[at].slabs[1].bits, 0);
#else
	printf("SKIP stranded_rseq_currents_are_withdrawn: no restartable sequences on this machine\n");
#endif
}
END_TEST

/* No supplier looks at heads in between: a visit is the first to learn that the slabs left the ring. */
START_TEST(visits_know_of_what_was_just_taken)
{
	struct supply *s = calloc(1, sizeof(*s));

	ck_assert_ptr_nonnull(s);
	testheap_init_with(&t, SIZE, SIZE, CONFIG_HUGE_NEVER, 8);
	t.heap->supply = s;
	s->heap = t.heap;
	ck_assert_int_eq(ledger_init(&s->ledger, t.heap), 0);
	ck_assert_int_eq(pages_init(&s->pages, t.heap), 0);
	ck_assert_int_eq(spans_init(&s->spans, t.heap, &s->ledger, &s->pages), 0);
	ck_assert_int_eq(visit_init(s), 0);
	for (uint32_t class = 24; class < HEAPD_SIZECLASS_COUNT; class += 1) {
		s->classes[class].target = 8 * 32768;
		for (uint32_t cpu = 0; cpu < 8; cpu++) {
			struct heapd_batch b;

			/* The last of each class is not noted. */
			ring_note_taken(s, class, clock_ns());
			ck_assert_int_eq(ring_fill(s, class), 0);
			ck_assert(testheap_take(&t, class, &b));
			*cas_word(cpu, class) = (struct heapd_pair){ base_of(&b, 0), b.masks[0] };
		}
	}
	ck_assert(visit_stranded(s, 2 * SUPPLY_SECOND_NS));
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->withdrawals), 0);
	ck_assert(visit_stranded(s, 3 * SUPPLY_SECOND_NS));
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->withdrawals), 8 * (HEAPD_SIZECLASS_COUNT - 24));
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->corrupt), 0);
	testheap_is_clean(&t);
	ck_assert_uint_eq(testheap_verify(&t).in_currents, 0);
	visit_deinit(s);
	spans_deinit(&s->spans);
	pages_deinit(&s->pages);
	held_deinit(&s->held);
	free(s);
	t.heap->supply = NULL;
	testheap_deinit(&t);
}
END_TEST

START_TEST(large_objects)
{
	uint64_t address[40], more;
	bool zeroed;
	int n = 0;

	for (; n < 40; n++) {
		uint64_t align = 1ul << (12 + n % 10);

		if (supply_large(t.heap, HEAPD_SIZECLASS_LARGE, 2 * MIB + 1, align, 0, &address[n], &zeroed) <
		    0)
			break;
		ck_assert_uint_eq(address[n] % align, 0);
		ck_assert(zeroed);
		memset((void *)(uintptr_t)address[n], 0xff,
		       2 * MIB + 1); /* NOLINT(performance-no-int-to-ptr) */
	}
	ck_assert_int_gt(n, 14);
	ck_assert_int_lt(n, 32);
	testheap_is_clean(&t);
	ck_assert_int_eq(supply_large(t.heap, HEAPD_SIZECLASS_LARGE, UINT64_MAX, 16, 0, &more, &zeroed),
			 -ENOMEM);
	for (int i = 0; i < n; i++) {
		uint32_t page = (uint32_t)((address[i] - t.heap->t.base) >> HEAPD_PAGE_SHIFT);

		testheap_free_bits(&t, t.heap->t.spans[page].slab0, 1);
	}
	/* Without a harvest in between: who meets the limit harvests. */
	ck_assert_int_eq(supply_large(t.heap, HEAPD_SIZECLASS_LARGE, 40 * MIB, 16, 0, &more, &zeroed), 0);
	ck_assert(!zeroed);
	ck_assert_uint_eq(HEAPD_READ_ONCE(testheap_stats(&t)->large), 40 * MIB);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("supply");
	TCase *tests = tcase_create("supply"), *still = tcase_create("still");

	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, every_small_class_is_supplied);
	tcase_add_test(tests, what_was_used_is_not_called_zero);
	tcase_add_test(tests, a_full_heap_refuses_and_recovers);
	tcase_add_test(tests, a_full_heap_takes_from_idle_rings);
	tcase_add_test(tests, double_free_in_the_ledger);
	tcase_add_test(tests, double_free_in_a_ring);
	tcase_add_test(tests, double_free_in_a_current_slab);
	tcase_add_test(tests, double_free_in_a_spare);
	tcase_add_test(tests, a_free_while_installing_is_judged_later);
	tcase_add_test(tests, batches_are_handed_back);
	tcase_add_test(tests, a_batch_handed_back_twice_does_no_harm);
	tcase_add_test(tests, idle_rings_are_withdrawn);
	tcase_add_test(tests, rings_in_use_keep_their_target);
	tcase_add_test(tests, stranded_cas_currents_are_withdrawn);
	tcase_add_test(tests, stranded_rseq_currents_are_withdrawn);
	tcase_add_test(tests, large_objects);
	tcase_add_test(still, visits_know_of_what_was_just_taken);
	suite_add_tcase(suite, tests);
	suite_add_tcase(suite, still);
	return testheap_run(suite);
}
