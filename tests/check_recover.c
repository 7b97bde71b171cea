/* SPDX-License-Identifier: MIT */
/*
 * What a daemon leaves when it dies, and what the next one makes of it: each state between two commits of what it has given and
 * taken, made by hand.
 */
#include "recovery.h"

/* Some slabs of a class are taken, half of them freed; with a large object beside them. */
static void use(uint32_t class, struct heapd_batch *batches, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(testheap_get(&t, class, &batches[i]), 0);
		if (i % 2)
			testheap_free(&t, &batches[i], 0x5555555555555555ull);
	}
}

/* Something of the class is taken, and something lies in its ring. */
static void fill_ring(uint32_t class, struct heapd_batch *batch)
{
	uint64_t until = clock_ns() + TESTHEAP_PATIENCE_NS;

	ck_assert_int_eq(testheap_get(&t, class, batch), 0);
	while (HEAPD_LOAD_ACQUIRE(&t.heap->t.rings[class].tail) == t.heap->t.heads[class].head) {
		ck_assert_uint_lt(clock_ns(), until);
		testheap_demand(&t, class);
		usleep(1000);
	}
}

/* All counts come out as they were. */
START_TEST(counts_are_the_same)
{
	static const uint32_t large_class = HEAPD_SIZECLASS_LARGE;
	struct heapd_batch batches[40];
	struct heapd_stats before, after;
	uint64_t address;
	bool zeroed;

	testheap_start(&t);
	for (uint32_t class = 1; class < 60; class += 7)
		use(class, batches, 40);
	ck_assert_int_eq(supply_large(t.heap, large_class, 3 * MIB, 8, 0, &address, &zeroed), 0);
	ck_assert_int_eq(supply_sync(t.heap), 0);
	forget();
	/* It died with something counted as out, and not as given. */
	HEAPD_COUNT(t.heap->t.directory->stats.given, -(uint64_t)MIB);
	before = stats_now();
	adopt();
	after = stats_now();
	ck_assert_uint_ge(after.given, before.given);
	ck_assert_uint_ge(after.taken, before.taken);
	ck_assert_uint_eq(after.given - after.taken, after.out);
	ck_assert_uint_gt(before.out, 3 * MIB);
	ck_assert_uint_eq(after.out, before.out);
	ck_assert_uint_eq(after.in_rings, before.in_rings);
	ck_assert_uint_eq(after.large, before.large);
	ck_assert_uint_eq(after.in_spans, before.in_spans);
	ck_assert_uint_eq(after.committed, before.committed);
	ck_assert_uint_eq(account_taken(&t.account), after.committed + t.heap->charged);
	/* And it goes on. */
	ck_assert_int_eq(supply_run(t.heap), 0);
	use(1, batches, 40);
	use(CLASS, batches, 40);
	testheap_is_clean(&t);
}
END_TEST

/* An entry of the ring that the daemon has not moved the private tail for: its slots come back. */
START_TEST(giving_not_finished)
{
	struct heapd_batch batch;
	struct ledger ledger;
	struct ledger_giving *giving;
	struct heapd_stats before, after;
	uint64_t out, taken;
	uint32_t slab;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	slab = testheap_slab(&t, &batch, 0);
	testheap_free(&t, &batch, UINT64_MAX);
	ck_assert_int_eq(supply_sync(t.heap), 0);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	giving = &ledger.head->giving;
	ck_assert_uint_eq(giving->class, 0);
	HEAPD_COUNT(t.heap->t.directory->stats.given, MIB); /* ... and this, not counted as taken back */
	before = stats_now();
	out = before.out;
	taken = ~ledger.out[slab] & 0xff;
	ck_assert_uint_ne(taken, 0);
	*giving = (struct ledger_giving){
		.class = CLASS + 1,
		.tail = ledger.rings[CLASS].tail,
		.entry = heapd_entry_make(heapd_entry_page(batch.entry), heapd_entry_slab(batch.entry), 1, 0),
		.masks = { taken },
	};
	ledger.out[slab] |= taken;
	adopt();
	after = stats_now();
	ck_assert_uint_eq(after.given, before.given);
	ck_assert_uint_eq(after.taken, before.taken + MIB);
	ck_assert_uint_eq(after.out, out);
	ck_assert_uint_eq(t.heap->t.out[slab] & taken, 0);
	ck_assert_uint_eq(t.heap->t.lent[slab] & taken, taken);
}
END_TEST

/* One that only the shared tail is missing for is in the ring. */
START_TEST(giving_almost_finished)
{
	struct heapd_batch batch;
	struct ledger ledger;
	uint64_t out, in_rings, tail;

	testheap_start(&t);
	fill_ring(CLASS, &batch);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	tail = ledger.rings[CLASS].tail;
	ck_assert_uint_gt(tail, t.heap->t.heads[CLASS].head);
	ledger.head->giving.tail = tail - 1;
	ledger.head->giving.class = CLASS + 1;
	t.heap->t.rings[CLASS].tail = tail - 1;
	out = stats_now().out;
	in_rings = stats_now().in_rings;
	adopt();
	ck_assert_uint_eq(t.heap->t.rings[CLASS].tail, tail);
	ck_assert_uint_eq(stats_now().out, out);
	ck_assert_uint_eq(stats_now().in_rings, in_rings);
}
END_TEST

/* The state in the midst of taking back what lies first in the ring: noted, and whoever is named has moved the head on. */
static uint64_t begin_to_withdraw(bool by_us, bool by_client)
{
	struct heapd_ring_head *head = &t.heap->t.heads[CLASS];
	struct ledger_taking *taking;
	struct ledger ledger;
	uint64_t entry;
	uint32_t slab;

	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	taking = &ledger.head->taking;
	ck_assert_uint_eq(taking->class, 0);
	entry = ledger.rings[CLASS].entries[head->head % HEAPD_RING_SLOTS];
	slab = t.heap->t.spans[heapd_entry_page(entry)].slab0 + heapd_entry_slab(entry);
	*taking = (struct ledger_taking){
		.class = CLASS + 1, .head = head->head, .withdrawn = head->withdrawn, .entry = entry
	};
	for (uint32_t i = 0; i < HEAPD_BATCH_MAX; i++)
		if (heapd_entry_present(entry) >> i & 1)
			taking->masks[i] = t.heap->t.supplied[slab + i];
	head->head += by_us || by_client;
	head->withdrawn += by_us;
	return (uint64_t)slab + (uint64_t)__builtin_ctz(heapd_entry_present(entry));
}

/* _i: 0: the head had not moved; 1: we had moved it; 2: half of it was free again, too; 3: a client was faster. */
START_TEST(withdrawal_not_finished)
{
	struct heapd_batch batch;
	uint64_t out, in_rings, slab, supplied;

	testheap_start(&t);
	fill_ring(CLASS, &batch);
	forget();
	out = stats_now().out;
	in_rings = stats_now().in_rings;
	slab = begin_to_withdraw(_i == 1 || _i == 2, _i == 3);
	supplied = t.heap->t.supplied[slab];
	ck_assert_uint_ne(supplied, 0);
	if (_i == 2)
		t.heap->t.out[slab] &= ~(supplied & 0x5555555555555555ull);
	adopt();
	if (_i == 1 || _i == 2) {
		ck_assert_uint_lt(stats_now().out, out);
		ck_assert_uint_eq(t.heap->t.out[slab] & supplied, 0);
	} else {
		ck_assert_uint_eq(stats_now().out, out);
		ck_assert_uint_eq(t.heap->t.out[slab] & supplied, supplied);
	}
	if (_i == 0)
		ck_assert_uint_eq(stats_now().in_rings, in_rings);
	else
		ck_assert_uint_lt(stats_now().in_rings, in_rings);
	ck_assert_uint_eq(t.heap->ledger->head->taking.class, 0);
}
END_TEST

/* What clients took while nobody looked is theirs. */
START_TEST(taken_meanwhile)
{
	struct heapd_batch batch;
	uint64_t in_rings;

	testheap_start(&t);
	fill_ring(CLASS, &batch);
	forget();
	in_rings = stats_now().in_rings;
	ck_assert(testheap_take(&t, CLASS, &batch));
	adopt();
	ck_assert_uint_lt(stats_now().in_rings, in_rings);
	for (unsigned i = 0; i < HEAPD_BATCH_MAX; i++)
		if (batch.masks[i])
			ck_assert_uint_eq(t.heap->t.out[testheap_slab(&t, &batch, i)] & batch.masks[i],
					  batch.masks[i]);
}
END_TEST

/* A head that a client spoilt meanwhile is put back. */
START_TEST(spoilt_head)
{
	struct heapd_batch batch;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	forget();
	t.heap->t.heads[CLASS].head = UINT64_MAX / 2;
	adopt();
	ck_assert_uint_le(t.heap->t.heads[CLASS].head, t.heap->t.rings[CLASS].tail);
	ck_assert_uint_eq(stats_now().corrupt, 1);
}
END_TEST

/* A freed slot that the ledger has back is no double free; one that it has not is found, without a hint where. */
START_TEST(freed_words)
{
	struct heapd_batch batch;
	uint32_t slab;
	uint64_t bit;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	slab = testheap_slab(&t, &batch, 0);
	bit = batch.masks[0] & -batch.masks[0];
	testheap_free(&t, &batch, bit);
	ck_assert_int_eq(supply_sync(t.heap), 0);
	testheap_disown(&t, slab, batch.masks[0] & ~bit,
			t.heap->t.spans[heapd_entry_page(batch.entry)].elemsize);
	forget();
	t.heap->t.freed[slab] = batch.masks[0];
	t.heap->t.freed_dirty[slab / 64] = 0;
	adopt();
	ck_assert_uint_eq(t.heap->t.freed[slab], batch.masks[0] & ~bit);
	ck_assert_int_eq(supply_run(t.heap), 0);
	heap_lock(t.heap);
	harvest_freed(t.heap->supply, false);
	heap_unlock(t.heap);
	ck_assert_uint_eq(t.heap->t.freed[slab], 0);
	ck_assert_uint_eq(stats_now().double_frees, 0);
}
END_TEST

/* A daemon that dies as it takes back a slot has not taken back yet what it said of its object; of others' objects it holds. */
START_TEST(marks_of_free_slots)
{
	struct heapd_batch batch;
	struct ledger ledger;
	uint64_t bit, others;
	uint32_t slab;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	slab = testheap_slab(&t, &batch, 0);
	bit = batch.masks[0] & -batch.masks[0];
	others = batch.masks[0] & ~bit;
	testheap_free(&t, &batch, bit);
	ck_assert_int_eq(supply_sync(t.heap), 0);
	forget();
	ck_assert_int_eq(ledger_init(&ledger, t.heap), 0);
	ck_assert_uint_eq(ledger.out[slab] & batch.masks[0], others);
	ledger.dying[slab] = ledger.done[slab] = ledger.torn[slab] = batch.masks[0];
	adopt();
	ck_assert_uint_eq(t.heap->marks->dying[slab], others);
	ck_assert_uint_eq(t.heap->marks->done[slab], others);
	ck_assert_uint_eq(t.heap->marks->torn[slab], others);
}
END_TEST

/* All that there is of the class goes into its ring and out of it. */
static void take_all(uint32_t class)
{
	struct heapd_batch batch;

	for (unsigned i = 0; i < 20; i++) {
		heap_lock(t.heap);
		ring_note_taken(t.heap->supply, class, clock_ns());
		t.heap->supply->classes[class].target = MIB;
		ck_assert_int_eq(ring_fill(t.heap->supply, class), 0);
		heap_unlock(t.heap);
		while (testheap_take(&t, class, &batch))
			;
	}
}

/* Handed back, taken back, and not marked as such: it is not taken back from its next owner. */
START_TEST(handed_back_twice)
{
	struct heapd_thread *thread = &t.threads[0];
	struct heapd_batch batch;
	uint64_t elemsize;

	testheap_start(&t);
	ck_assert_int_eq(testheap_get(&t, CLASS, &batch), 0);
	elemsize = t.heap->t.spans[heapd_entry_page(batch.entry)].elemsize;
	for (unsigned i = 0; i < HEAPD_BATCH_MAX; i++)
		if (batch.masks[i])
			testheap_disown(&t, testheap_slab(&t, &batch, i), batch.masks[i], elemsize);
	thread->handback[0] = batch;
	HEAPD_STORE_RELEASE(&thread->handback_tail, 1);
	HEAPD_STORE_RELEASE(&t.session->handback, 1);
	ck_assert_int_eq(supply_sync(t.heap), 0);
	forget();
	HEAPD_STORE_RELEASE(&thread->handback_head, 0);
	ck_assert_uint_eq(HEAPD_READ_ONCE(t.session->handback), 0);
	adopt();
	heap_lock(t.heap);
	harvest_handback_again(t.heap->supply);
	heap_unlock(t.heap);
	ck_assert_uint_eq(thread->handback_head, 1);
	take_all(CLASS);
	/* Once more, as the supplier does when the client says that there is something. */
	HEAPD_STORE_RELEASE(&t.session->handback, 1);
	heap_lock(t.heap);
	harvest_handback(t.heap->supply, true);
	heap_unlock(t.heap);
	ck_nothing_lost();
	testheap_is_clean(&t);
}
END_TEST

/* Classes that nobody has heard of are not there. */
START_TEST(class_half_made)
{
	uint32_t n = HEAPD_CLASS_BUILTIN;

	testheap_start(&t);
	forget();
	t.heap->t.classes[n] = (struct heapd_class){ .type = HEAPD_TYPE_BUILTIN, .kind = HEAPD_KIND_FIXED };
	if (_i)
		t.heap->t.directory->nclasses = n + 1;
	adopt();
	ck_assert_uint_eq(t.heap->t.directory->nclasses, n);
	ck_assert_ptr_null(types_class_record(t.heap, n));
}
END_TEST

/* A cycle that was under way is void, and whoever waits is woken to ask again. */
START_TEST(cycle_is_void)
{
	struct heapd_cycle_words *cycle;
	uint32_t event;

	testheap_start(&t);
	forget();
	cycle = &t.heap->t.directory->cycle;
	cycle->now = heapd_now_make(7, HEAPD_PHASE_MARK);
	cycle->finished = 6;
	event = cycle->event;
	adopt();
	cycle = &t.heap->t.directory->cycle;
	ck_assert_uint_eq(cycle->now, heapd_now_make(7, HEAPD_PHASE_IDLE));
	ck_assert_uint_eq(cycle->event, event + 1);
	ck_assert_uint_eq(collection_request(t.heap, TRIGGER_REQUEST), 7);
}
END_TEST

static Suite *recover_suite(void)
{
	Suite *suite = suite_create("recover");
	TCase *tc = tcase_create("states");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, counts_are_the_same);
	tcase_add_test(tc, giving_not_finished);
	tcase_add_test(tc, giving_almost_finished);
	tcase_add_loop_test(tc, withdrawal_not_finished, 0, 4);
	tcase_add_test(tc, taken_meanwhile);
	tcase_add_test(tc, spoilt_head);
	tcase_add_test(tc, freed_words);
	tcase_add_test(tc, marks_of_free_slots);
	tcase_add_test(tc, handed_back_twice);
	tcase_add_loop_test(tc, class_half_made, 0, 2);
	tcase_add_test(tc, cycle_is_void);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return testheap_run(recover_suite());
}
