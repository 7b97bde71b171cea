/* SPDX-License-Identifier: MIT */
/*
 * What is decided between marking and the sweep, case by case, on words that the test sets: which weak cells are cleared, whose
 * objects are revived, which objects are queued as dead, and what is known of them until they are freed.
 */
#include "slowness.h"
#include "testheap.h"

#include <pthread.h>

#include "daemon/deads.h"
#include "daemon/weaks.h"

static struct testheap t;
static struct marker *marker;
static uint32_t type, class;

/* A slot that is out, by all of its names. */
struct place {
	uint64_t address, bit;
	uint32_t first, k, slab;
};
static struct place cell, thing, other;

static void type_define(void)
{
	struct heapd_type_request request = {
		.name = "thing", .size = 64, .align = 8, .map_bits = 8, .map = { 1 }
	};
	struct heapd_type_reply reply;
	struct refusal why;

	ck_assert_int_eq(types_define(t.heap, &request, true, &reply, &why), 0);
	type = reply.type;
	class = t.heap->t.types[type].fixed_class;
}

static void places_take(uint32_t from, struct place *places, unsigned n)
{
	struct heapd_batch batch;

	ck_assert_int_eq(testheap_get(&t, from, &batch), 0);
	for (unsigned i = 0; i < n; i++) {
		uint32_t first = heapd_entry_page(batch.entry), k = heapd_entry_slab(batch.entry);

		places[i] = (struct place){ .first = first, .k = k, .slab = testheap_slab(&t, &batch, 0) };
		places[i].bit = 1ull << i;
		ck_assert(batch.masks[0] & places[i].bit);
		places[i].address = (uint64_t)(uintptr_t)testheap_slot(&t, first, k, i);
		*(uint64_t *)(uintptr_t)places[i].address = 0;
	}
	t.heap->marks->mark[places[0].slab] = t.heap->marks->hold[places[0].slab] = 0;
}

static void setup(void)
{
	struct place things[2];

	testheap_init(&t, 64 * MIB, 64 * MIB);
	type_define();
	testheap_start(&t);
	ck_assert_int_eq(deads_init(t.heap), 0);
	ck_assert_int_eq(marker_init(&marker, t.heap, 1), 0);
	places_take(HEAPD_CLASS_WEAK, &cell, 1);
	places_take(class, things, 2);
	thing = things[0];
	other = things[1];
	marker_begin(marker);
}

static void teardown(void)
{
	marker_deinit(marker);
	deads_deinit(t.heap);
	testheap_deinit(&t);
}

static uint64_t *word_of(const struct place *p)
{
	return (uint64_t *)(uintptr_t)p->address;
}

static bool is_marked(const struct place *p)
{
	return t.heap->marks->mark[p->slab] & p->bit;
}

static void bit_set(uint64_t *table, const struct place *p, bool set)
{
	table[p->slab] = set ? table[p->slab] | p->bit : table[p->slab] & ~p->bit;
}

/* And it stays there: the supplier fills a ring with it only where it is asked to, or has a target. */
static void give_back(const struct place *p)
{
	heap_lock(t.heap);
	t.heap->supply->classes[class].target = 0;
	__atomic_fetch_and(&t.heap->t.control->demand[class / 64], ~(UINT64_C(1) << (class % 64)),
			   __ATOMIC_RELAXED);
	spans_slots_free(&t.heap->supply->spans, p->first, p->k, p->bit);
	heap_unlock(t.heap);
}

/* Weak cells ----------------------------------------------------------------------------------------------------- */

static const struct weak_case {
	bool mark, hold, touched;
	bool stays, marked; /* afterwards */
	unsigned revived;
} weak_cases[] = {
	{ true, false, false, true, true, 0 },    { true, true, false, true, true, 0 },
	{ false, false, false, false, false, 0 }, { false, true, false, true, true, 1 },
	{ true, false, true, true, true, 0 },     { false, false, true, true, true, 1 },
	{ false, true, true, true, true, 1 },
};

START_TEST(cell_by_case)
{
	const struct weak_case *c = &weak_cases[_i];
	uint64_t cleared = 0, interior = _i % 2 ? 24 : 0;

	bit_set(t.heap->marks->mark, &thing, c->mark);
	bit_set(t.heap->marks->hold, &thing, c->hold);
	*word_of(&cell) = thing.address + interior + c->touched;
	ck_assert_uint_eq(weaks_settle(t.heap, marker, &cleared), c->revived);
	ck_assert_uint_eq(*word_of(&cell), c->stays ? thing.address + interior : 0);
	ck_assert_int_eq(is_marked(&thing), c->marked);
	ck_assert_uint_eq(cleared, !c->stays);
	ck_assert_uint_eq(weaks_settle(t.heap, marker, &cleared), 0);
}
END_TEST

START_TEST(cell_of_nothing)
{
	uint64_t cleared = 0;

	bit_set(t.heap->marks->mark, &thing, true);
	give_back(&thing);
	*word_of(&cell) = thing.address;
	ck_assert_uint_eq(weaks_settle(t.heap, marker, &cleared), 0);
	ck_assert_uint_eq(*word_of(&cell), 0);
	*word_of(&cell) = t.heap->t.base + t.heap->t.size - 16;
	ck_assert_uint_eq(weaks_settle(t.heap, marker, &cleared), 0);
	ck_assert_uint_eq(*word_of(&cell), 0);
	*word_of(&cell) = 4242;
	ck_assert_uint_eq(weaks_settle(t.heap, marker, &cleared), 0);
	ck_assert_uint_eq(*word_of(&cell), 0);
	ck_assert_uint_eq(cleared, 3);
}
END_TEST

/* What a revived object leads to has to be marked before anything is cleared. */
START_TEST(nothing_is_cleared_in_a_round_that_revives)
{
	uint64_t cleared = 0;
	struct place second = cell;

	second.address += 16;
	ck_assert(t.heap->t.out[cell.slab] & cell.bit << 1);
	*word_of(&cell) = thing.address | HEAPD_WEAK_TOUCHED;
	*word_of(&second) = other.address;
	*word_of(&thing) = other.address;
	ck_assert_uint_eq(weaks_settle(t.heap, marker, &cleared), 1);
	ck_assert_uint_eq(*word_of(&second), other.address);
	while (!marker_drain(marker))
		;
	ck_assert(is_marked(&other));
	ck_assert_uint_eq(weaks_settle(t.heap, marker, &cleared), 0);
	ck_assert_uint_eq(*word_of(&second), other.address);
	ck_assert_uint_eq(cleared, 0);
}
END_TEST

/* A thread that touches the cell at any moment of a round, however long that is: what it got stays. */
#define RACES 20000u
#define FEW      \
	(RACES / \
	 100) /* of either outcome; with less of one, on a machine that is busy, there are more rounds, ... */
#define MOST (RACES * 100) /* ... up to so many */
static struct {
	uint64_t round; /* that begins */
	uint64_t ended; /* that the other thread has ended */
	bool touched, over;
} race;

static void *toucher(void *arg)
{
	uint64_t seed = *(uint64_t *)arg, longest = 4000 * slowness();

	for (uint64_t round = 1;; round++) {
		uint64_t wait = testheap_random(&seed) % longest, word = thing.address;

		while (HEAPD_LOAD_ACQUIRE(&race.round) != round)
			;
		if (race.over)
			break;
		while (wait--)
			__asm__ volatile("");
		race.touched = __atomic_compare_exchange_n(word_of(&cell), &word, word | HEAPD_WEAK_TOUCHED,
							   false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
		HEAPD_STORE_RELEASE(&race.ended, round);
	}
	return NULL;
}

static bool is_enough(uint64_t rounds, uint64_t touched)
{
	return rounds >= MOST || (rounds >= RACES && touched > FEW && rounds - touched > FEW);
}

START_TEST(touched_meanwhile)
{
	uint64_t seed = testheap_seed(), cleared = 0, before, touched = 0, revived, round;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, toucher, &seed), 0);
	for (round = 1; !is_enough(round - 1, touched); round++) {
		bit_set(t.heap->marks->mark, &thing, false);
		*word_of(&cell) = thing.address;
		before = cleared;
		HEAPD_STORE_RELEASE(&race.round, round);
		revived = weaks_settle(t.heap, marker, &cleared);
		while (HEAPD_LOAD_ACQUIRE(&race.ended) != round)
			;
		touched += race.touched;
		ck_assert_uint_eq(cleared - before, !race.touched);
		ck_assert_int_eq(*word_of(&cell) != 0, race.touched);
		/* Touched before the round ended, or cleared. */
		ck_assert_uint_eq(revived, race.touched);
	}
	race.over = true;
	HEAPD_STORE_RELEASE(&race.round, round);
	pthread_join(thread, NULL);
	printf("%lu of %lu touched\n", (unsigned long)touched, (unsigned long)round - 1);
	ck_assert_uint_gt(touched, FEW);
	ck_assert_uint_gt(round - 1 - touched, FEW);
}
END_TEST

/* Dead objects --------------------------------------------------------------------------------------------------- */

static const struct dead_case {
	bool mark, hold, done, torn, freed;
	bool queued, marked;
} dead_cases[] = {
	{ false, false, false, false, false, true, true },
	{ true, false, false, false, false, false, true },
	{ false, true, false, false, false, false, true },
	{ false, false, true, false, false, false, false },
	{ false, false, false, true, false, false, false },
	{ false, false, false, false, true, false, false },
};

static void watch(void)
{
	struct refusal why;

	ck_assert_int_eq(deads_watch(t.heap, type, &why), 0);
	heap_lock(t.heap); /* the supplier may cut spans there */
	for (uint64_t slab = thing.slab; slab < thing.slab + 64; slab++)
		if (slab != thing.slab)
			t.heap->marks->mark[slab] = UINT64_MAX;
	t.heap->marks->mark[thing.slab] = ~thing.bit;
	heap_unlock(t.heap);
}

START_TEST(dead_by_case)
{
	const struct dead_case *c = &dead_cases[_i];

	watch();
	bit_set(t.heap->marks->mark, &thing, c->mark);
	bit_set(t.heap->marks->hold, &thing, c->hold);
	bit_set(t.heap->marks->done, &thing, c->done);
	bit_set(t.heap->marks->torn, &thing, c->torn);
	bit_set(t.heap->t.freed, &thing, c->freed);
	ck_assert_uint_eq(deads_queue(t.heap, marker), c->queued);
	ck_assert_int_eq(is_marked(&thing), c->marked);
	ck_assert_uint_eq(t.heap->marks->dying[thing.slab], c->queued ? thing.bit : 0);
	ck_assert_uint_eq(t.heap->t.types[type].dead, c->queued);
	bit_set(t.heap->t.freed, &thing, false);
}
END_TEST

START_TEST(taken_once_and_held)
{
	struct refusal why;
	uint64_t object;

	watch();
	ck_assert_uint_eq(deads_queue(t.heap, marker), 1);
	ck_assert_int_eq(deads_take(t.heap, 0, type, &object, &why), 0);
	ck_assert_uint_eq(object, thing.address);
	ck_assert_uint_eq(t.heap->clients->slots[0].in_flight, object);
	ck_assert_uint_eq(t.heap->marks->dying[thing.slab], 0);
	ck_assert_uint_eq(t.heap->marks->done[thing.slab], thing.bit);
	ck_assert_int_eq(deads_take(t.heap, 0, type, &object, &why), 0);
	ck_assert_uint_eq(object, 0);
	clients_hold(t.heap, 0, 0);
	give_back(&thing);
	ck_assert_uint_eq(t.heap->marks->done[thing.slab], 0);
}
END_TEST

/* In the next cycle it is a root, and not found dead again. */
START_TEST(queued_once)
{
	watch();
	ck_assert_uint_eq(deads_queue(t.heap, marker), 1);
	t.heap->marks->mark[thing.slab] = ~thing.bit;
	deads_shade(t.heap, marker);
	ck_assert(is_marked(&thing));
	ck_assert_uint_eq(deads_queue(t.heap, marker), 0);
	ck_assert_uint_eq(t.heap->t.types[type].dead, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("settle");
	TCase *tcase = tcase_create("settle");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, cell_by_case, 0, sizeof(weak_cases) / sizeof(weak_cases[0]));
	tcase_add_test(tcase, cell_of_nothing);
	tcase_add_test(tcase, nothing_is_cleared_in_a_round_that_revives);
	tcase_add_test(tcase, touched_meanwhile);
	tcase_add_loop_test(tcase, dead_by_case, 0, sizeof(dead_cases) / sizeof(dead_cases[0]));
	tcase_add_test(tcase, taken_once_and_held);
	tcase_add_test(tcase, queued_once);
	suite_add_tcase(suite, tcase);
	return testheap_run(suite);
}
